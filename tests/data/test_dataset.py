"""Labelled images in memory: what they are, how they are cut into parts and read in batches."""

import subprocess
import sys
import tracemalloc
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from tfds_folders import arrays

from noprop_ode import data
from noprop_ode.data._random import permutation, stratified_cut


def test_dataset_describes_itself():
    images, labels = arrays(8)
    one = data.Dataset("toys", images, labels.astype(np.int32), ("a", "b", "c", "d"))
    assert (len(one), one.image_shape, one.num_classes) == (8, (6, 5, 3), 4)
    assert repr(one) == "Dataset('toys', 8 images of 6x5x3, 4 classes)"
    taken = one.take(np.array([3, 1]))
    np.testing.assert_array_equal(taken.images, images[[3, 1]])
    np.testing.assert_array_equal(taken.labels, [3, 1])
    assert len(one.take(labels == 0)) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint32])
def test_integer_labels_of_any_kind_are_kept_as_int32(dtype):
    made = data.Dataset("toys", np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1], dtype), ("a", "b"))
    assert made.labels.dtype == np.int32 and made.labels.tolist() == [0, 1]


def test_statistics_of_pixels():
    images, labels = arrays(8)
    made = data.Dataset("toys", images, labels.astype(np.int32), ("a", "b", "c", "d"))
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose([made.mean, made.std], [scaled.mean(), scaled.std()], rtol=1e-12)
    as_floats = data.Dataset("toys", scaled, labels, ("a", "b", "c", "d"))
    assert as_floats.images.dtype == np.float32
    np.testing.assert_allclose([as_floats.mean, as_floats.std], [made.mean, made.std], rtol=1e-6)
    assert data.Dataset("flat", np.zeros((2, 3), np.uint8), np.array([0, 1]), ("a", "b")).std == 1.0


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (np.zeros(2, np.uint8), np.zeros(2, np.int32), r"^bad: Expected a non-empty batch .*shape \(2,\)"),
        (np.zeros((2, 4, 4, 1), np.int16), np.zeros(2, np.int32), "got dtype int16"),
        (np.full((2, 4, 4, 1), 255.0), np.zeros(2, np.int32), "from 255 to 255. Divide them by 255"),
        (np.full((2, 4, 4, 1), np.nan), np.zeros(2, np.int32), "2 of 2 have NaN"),
        (np.zeros((2, 4, 4, 1), np.uint16), np.zeros(2, np.int32), "16 bits with / 65535"),
        (np.full((2, 3), 17.0), np.zeros(2, np.int32), "from 17 to 17.* Standardised images.* have any scale"),
        ([[1, 2], [3]], np.zeros(2, np.int32), "give all rows one shape"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.float32), "Labels are integers"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.eye(2, dtype=np.int32), "argmax"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 2**63], np.uint64), r"lie in \[0, 2\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array(["a", "b"]), "from_arrays"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int32), r"shape \(2,\); got shape \(3,\)"),
        (np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, np.int32), "non-empty batch"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 2], np.int32), r"lie in \[0, 2\), .* got labels from 0 to 2"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([-1, 0], np.int32), "from -1 to 0"),
    ],
)
def test_dataset_refuses_what_it_is_not(images, labels, message):
    with pytest.raises(data.DatasetError, match=message):
        data.Dataset("bad", images, labels, ("a", "b"))


@pytest.mark.parametrize("images", [np.array([[-40.0, 3.0], [0.5, 90.0]]), np.full((2, 1, 1, 3), 1000.0)])
def test_normalised_data_of_any_scale_and_rows_of_a_table_are_taken(images):
    made = data.Dataset("rows", images, np.array([0, 1]), ("a", "b"))
    np.testing.assert_array_equal(made.images, images.astype(np.float32))


def test_statistics_take_little_memory_and_are_exact():
    # More pixels than are summed at a time; numbers of one value each, so that the mean is known.
    images = np.repeat(np.arange(256, dtype=np.uint8), 2**16).reshape(256, 256, 256)
    made = data.Dataset("ramp", images, np.zeros(256, np.int64), ("a",))
    assert made.mean == 0.5 and abs(made.std - np.sqrt((256**2 - 1) / 12) / 255) < 1e-15
    tracemalloc.start()
    try:
        assert data.Dataset("ramp", images, made.labels, ("a",)).std == made.std
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


def test_arrays_of_other_libraries_and_lists():
    made = data.Dataset("toys", jax.numpy.ones((2, 3), jax.numpy.bfloat16), [1, 0], ["a", "b"])
    assert made.images.dtype == np.float32 and made.labels.dtype == np.int32 and made.class_names == ("a", "b")
    assert made.image_shape == (3,) and repr(made) == "Dataset('toys', 2 images of 3, 2 classes)"


def test_parts_may_be_missing():
    train = data.Dataset("toys", np.zeros((2, 3), np.uint8), np.array([0, 1]), ("a", "b"))
    assert data.Splits(train).validation is None and data.Splits(train).test is None
    with pytest.raises(data.DatasetError, match="take all parts from one data set"):
        data.Splits(train, test=data.Dataset("other", np.zeros((2, 4), np.uint8), train.labels, ("a", "b")))


def test_take_refuses_what_is_not_there():
    images, labels = arrays(8)
    one = data.Dataset("toys", images, labels.astype(np.int32), ("a", "b", "c", "d"))
    with pytest.raises(data.DatasetError, match="indices of 8 images"):
        one.take(np.array([8]))
    with pytest.raises(data.DatasetError, match="non-empty batch"):
        one.take(np.array([], np.int64))


@pytest.mark.parametrize("count", [1, 7, 50, 99])
def test_stratified_cut_is_a_partition_with_every_class_at_its_share(count):
    labels = np.repeat(np.arange(4), [10, 20, 30, 40]).astype(np.int32)
    chosen, rest = stratified_cut(labels, count, permutation(100, (5,)))
    np.testing.assert_array_equal(np.sort(np.concatenate([chosen, rest])), np.arange(100))
    exact = np.bincount(labels) * count / 100
    got = np.bincount(labels[chosen], minlength=4)
    assert len(chosen) == count and (np.abs(got - exact) < 1).all()


@pytest.mark.parametrize("count", [1, 30, 200, 399])
def test_no_class_gives_its_last_item_while_another_has_two_left(count):
    sizes = np.array([1, 2, 1, 3, 40, 1, 200, 2, 0, 150])
    labels = np.repeat(np.arange(10), sizes).astype(np.int32)
    chosen, rest = stratified_cut(labels, count, permutation(400, (1,)))
    left = np.bincount(labels[rest], minlength=10)
    assert len(chosen) == count and len(rest) == 400 - count
    assert (left[sizes > 0] > 0).all() or left.max() <= 1


def test_small_classes_are_cut_by_the_seed_and_not_by_their_names():
    labels = np.repeat(np.arange(40), 4).astype(np.int32)
    cuts = [stratified_cut(labels, 16, permutation(160, (seed,)))[0] for seed in range(30)]
    given = sum(np.bincount(labels[cut], minlength=40) for cut in cuts)
    assert all(len(set(labels[cut])) == 16 for cut in cuts) and given.min() >= 3 and given.max() <= 24


def test_equal_remainders_of_large_classes_go_to_the_lower_class():
    # As digits, MNIST and CIFAR are cut: the published results depend on it.
    labels = np.repeat(np.arange(4), 10).astype(np.int32)
    assert np.bincount(labels[stratified_cut(labels, 6, permutation(40, (1,)))[0]]).tolist() == [2, 2, 1, 1]


def test_permutation_is_pinned():
    # A changed value here means that every published split and batch order has changed.
    assert permutation(8, (2, 0, 8)).tolist() == [3, 4, 1, 7, 2, 0, 6, 5]
    assert sorted(permutation(1000, (1, 2)).tolist()) == list(range(1000))


def test_batches_cover_an_epoch_once_and_repeat():
    train = data.load("digits").train
    seen = list(data.batches(train, 100, seed=3, epoch=2))
    assert len(seen) == 12 and all(x.shape == (100, 8, 8, 1) and y.shape == (100,) for x, y in seen)
    assert len({image.tobytes() for x, _ in seen for image in x}) == 1200
    for (x, y), (x2, y2) in zip(seen, data.batches(train, 100, seed=3, epoch=2)):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    (x, _), *_ = data.batches(train, 100, seed=3, epoch=3)
    assert not np.array_equal(x, seen[0][0])
    assert len(list(data.batches(train, len(train), seed=0, epoch=0))) == 1


@pytest.mark.parametrize("size, seed, epoch", [(0, 0, 0), (1295, 0, 0), (10, -1, 0), (10, 0, -1)])
def test_batches_refuse_at_the_call(size, seed, epoch):
    train = data.load("digits").train
    with pytest.raises(data.DatasetError):
        data.batches(train, size, seed=seed, epoch=epoch)


def test_batches_of_anything_with_images_and_labels():
    plain = types.SimpleNamespace(images=np.arange(6.0).reshape(6, 1), labels=np.arange(6))
    ((x, y),) = data.batches(plain, 6, seed=0, epoch=0)
    np.testing.assert_array_equal(x[:, 0], y)
    plain.images = plain.images[:5]
    with pytest.raises(data.DatasetError, match="5 images and 6 labels"):
        data.batches(plain, 2, seed=0, epoch=0)


def test_importing_brings_nothing_heavy():
    heavy = ["sklearn", "tensorflow_datasets", "PIL", "array_record", "noprop_ode.data.prepare"]
    code = f"import sys, noprop_ode.data; print([m for m in {heavy} if m in sys.modules])"
    root = Path(data.__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True, timeout=300
    )
    assert found.stdout.strip() == "[]"
