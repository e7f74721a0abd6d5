"""Data of the user's own: arrays in memory."""

import numpy as np
import pytest

from noprop_ode import data


def test_arrays_of_ones_own():
    xs = np.random.default_rng(0).random((40, 7))
    names = np.array(["dog", "cat", "eel", "ant"])[np.arange(40) % 4]
    splits = data.from_arrays(xs, names, test=(xs[:4], names[:4]), validation=8)
    assert splits.train.class_names == ("ant", "cat", "dog", "eel")
    assert splits.validation is not None and splits.test is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (32, 8, 4)
    assert splits.test.labels.tolist() == [2, 1, 3, 0]
    assert np.bincount(splits.validation.labels).tolist() == [2, 2, 2, 2]
    alone = data.from_arrays(xs, np.arange(40) % 4, validation=0, class_names=list("wxyz"))
    assert alone.validation is None and alone.test is None and alone.train.class_names == ("w", "x", "y", "z")


def test_bytes_and_strings_are_one_class_in_any_part():
    xs = np.zeros((4, 3), np.uint8)
    splits = data.from_arrays(xs, ["b", "a", "b", "a"], test=(xs[:2], np.array([b"a", b"b"])), validation=0)
    assert splits.test is not None and splits.test.labels.tolist() == [0, 1]


def test_labels_of_a_test_part_that_cannot_be_sorted_are_refused():
    xs = np.zeros((4, 3), np.uint8)
    with pytest.raises(data.DatasetError, match="labels that can be sorted"):
        data.from_arrays(xs, ["b", "a", "b", "a"], test=(xs[:2], np.array(["a", 2.5], object)), validation=0)


def test_parts_cut_from_arrays_are_disjoint_and_the_test_part_is_fixed():
    xs = np.random.default_rng(0).random((40, 7)).astype(np.float32)
    first, other = (data.from_arrays(xs, np.arange(40) % 4, test=0.2, validation=0.25, seed=s) for s in (0, 1))
    parts = first.train, first.validation, first.test
    assert [len(part) for part in parts if part] == [24, 8, 8]
    assert len({row.tobytes() for part in parts if part for row in part.images}) == 40
    assert first.test and other.test and first.validation and other.validation
    np.testing.assert_array_equal(first.test.images, other.test.images)
    assert not np.array_equal(first.validation.images, other.validation.images)


@pytest.mark.parametrize(
    "labels, class_names, names, numbers",
    [
        ([0, 2, 1, 0], None, ("0", "1", "2"), [0, 2, 1, 0]),
        (np.array([0, 2, 1, 0], np.uint8), None, ("0", "1", "2"), [0, 2, 1, 0]),
        ([-1, 1, 1, -1], None, ("-1", "1"), [0, 1, 1, 0]),
        ([-1, 1, 1, -1], ["no", "yes"], ("no", "yes"), [0, 1, 1, 0]),
        ([True, False, True, True], ["no", "yes"], ("no", "yes"), [1, 0, 1, 1]),
        ([0.5, 1.5, 0.5, 1.5], None, ("0.5", "1.5"), [0, 1, 0, 1]),
        (np.array(["b", "a", "b", "b"], object), None, ("a", "b"), [1, 0, 1, 1]),
        (np.array([b"b", b"a", b"b", b"b"]), None, ("a", "b"), [1, 0, 1, 1]),
        # Names in an order of their own, one of them without images.
        (["b", "a", "b", "b"], ["b", "c", "a"], ("b", "c", "a"), [0, 2, 0, 0]),
        (np.array([b"b", b"a", b"b", b"b"]), ["b", "c", "a"], ("b", "c", "a"), [0, 2, 0, 0]),
        (
            np.array(["b", b"a", b"b", "\u00e9".encode()], object),
            ["\u00e9", "b", "a"],
            ("\u00e9", "b", "a"),
            [1, 2, 1, 0],
        ),
        (np.array([b"\xe9", b"a", b"a", b"a"]), None, ("a", "\ufffd"), [1, 0, 0, 0]),
        # None of them among the names: the sorted values have them, one after the other.
        (["b", "a", "b", "b"], ["no", "yes"], ("no", "yes"), [1, 0, 1, 1]),
    ],
)
def test_labels_of_any_kind(labels, class_names, names, numbers):
    train = data.from_arrays(np.zeros((4, 3), np.uint8), labels, class_names=class_names, validation=0).train
    assert train.class_names == names and train.labels.tolist() == numbers and train.labels.dtype == np.int32


@pytest.mark.parametrize(
    "labels, how, message",
    [
        (["a", "b", "a", "b"], {"test": (np.zeros((1, 3)), ["fox"])}, "got .'fox'. too"),
        (["a", "b", "a", "b"], {"class_names": ["x"]}, "expected 2 class_names"),
        (["cat", "brid", "cat", "brid"], {"class_names": ["bird", "cat"]}, "got .'brid'. too; .* mean 'bird'"),
        ([b"cat", b"\xe9", b"cat", b"cat"], {"class_names": ["cat", "dog"]}, "among the class_names"),
        (np.array(["cat", 2.5, "cat", 3], object), {"class_names": ["cat", "dog"]}, "can be sorted"),
        (["a", "b", "a", "b"], {"class_names": "ab"}, "got the string 'ab'"),
        (["a", "b", "a", "b"], {"class_names": ["a", "b", "a"]}, "some twice"),
        ([0, 1, 5, 1], {"class_names": ["a", "b"]}, "got .5. too"),
        ([0, 1, 2**40, 1], {}, "number the classes"),
        ([0.0, 1.0, np.nan, 1.0], {}, "NaN"),
        (np.array(["a", 1, 2.5, "b"], object), {}, "can be sorted"),
        (3, {}, "labels as an array"),
        ([[0], [1], [0], [1]], {}, r"one label an image.* labels.argmax\(axis=1\) of one-hot labels"),
        ([0, 1, 0, 1], {"validation": (np.zeros((1, 3)), [7])}, "got .7. too"),
        ([0, 1, 0], {}, "one label an image"),
        ([0, 1, 0, 1], {"validation": 1.5}, "expected validation as a fraction"),
        ([0, 1, 0, 1], {"test": -1}, "expected test as a fraction"),
        ([0, 1, 0, 1], {"seed": -1}, "seed"),
    ],
)
def test_arrays_that_do_not_go_together(labels, how, message):
    with pytest.raises(data.DatasetError, match=message):
        data.from_arrays(np.zeros((4, 3)), labels, **{"validation": 0, **how})


def test_classes_without_an_image_are_told():
    """Labels from 1 to 3 are four classes."""
    with pytest.warns(UserWarning, match=r"counted from 0, so there are 4, of which 0 have no image"):
        assert data.from_arrays(np.zeros((6, 3)), [1, 2, 3, 1, 2, 3], validation=0).train.num_classes == 4
    assert data.from_arrays(np.zeros((2, 3)), [1, 2], validation=0, class_names=list("abc")).train.num_classes == 3
    with pytest.raises(data.DatasetError, match="at least one image"):
        data.from_arrays(np.zeros((0, 3)), [], validation=0)


def test_a_validation_part_of_ones_own_is_taken_as_it_is():
    xs, labels = np.arange(18.0).reshape(6, 3) / 18, ["a", "b", "a", "b", "a", "b"]
    found = data.from_arrays(xs[:4], labels[:4], validation=(xs[4:], labels[4:]), test=(xs[:2], labels[:2]))
    assert found.validation is not None and found.test is not None
    assert (len(found.train), len(found.validation), len(found.test)) == (4, 2, 2)
    assert found.validation.name == "arrays/validation" and found.validation.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(found.validation.images, np.float32(xs[4:]))
