"""Images that stay on disk: the same as in memory, read when they are asked for, and no others."""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from tfds_folders import arrays, make_folder

from noprop_ode import data
from noprop_ode.data._batches import Batches
from noprop_ode.data._records import Records


def class_folder(root, n=40):
    images, labels = arrays(n)
    for i, (image, label) in enumerate(zip(images, labels)):
        path = root / "pets" / f"class{label}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root / "pets"


def both(tmp_path, kind, **how):
    """The same data in memory and streamed."""
    if kind == "tfds":
        make_folder(tmp_path, train=90, test=16)
        memory, disk = (data.load("toys", data_dir=tmp_path, seed=3, **how, stream=stream) for stream in (False, True))
    else:
        root = class_folder(tmp_path)
        memory, disk = (data.from_folder(root, test=0.2, seed=3, **how, stream=stream) for stream in (False, True))
    return memory, disk


def watched(monkeypatch):
    """The positions of all records that are decoded from here on."""
    seen = []
    read = Records.read
    monkeypatch.setattr(
        Records, "read", lambda self, positions: (seen.extend(positions.tolist()), read(self, positions))[1]
    )
    return seen


def assert_same_batches(found, expected):
    count = 0
    for (xs, ys), (us, vs) in zip(found, expected, strict=True):
        assert isinstance(xs, np.ndarray) and xs.dtype == us.dtype
        np.testing.assert_array_equal(xs, us)
        np.testing.assert_array_equal(ys, vs)
        count += 1
    return count


@pytest.mark.parametrize("how", [{}, {"image_size": (4, 7), "validation": 13}], ids=["plain", "resized"])
@pytest.mark.parametrize("kind", ["tfds", "folder"])
def test_streamed_parts_are_those_in_memory(kind, how, tmp_path):
    memory, disk = both(tmp_path, kind, **how)
    for name in ("train", "validation", "test"):
        a, b = getattr(memory, name), getattr(disk, name)
        assert b.streamed and not a.streamed and repr(b) == repr(a)[:-1] + ", on disk)"
        assert (b.name, b.class_names, b.images.shape, b.images.dtype) == (
            a.name,
            a.class_names,
            a.images.shape,
            a.images.dtype,
        )
        np.testing.assert_array_equal(b.images[:], a.images)
        np.testing.assert_array_equal(b.labels, a.labels)
        assert (b.mean, b.std) == (a.mean, a.std)
    with pytest.raises(data.DatasetError, match="with image_size"):
        data.Splits(disk.train, None, data.Dataset("other", np.zeros((2, 9, 9, 3), np.uint8), [0, 1], ("a", "b")))


def test_indexing_is_that_of_an_array(tmp_path, monkeypatch):
    memory, disk = both(tmp_path, "tfds")
    expected, images = memory.train.images, disk.train.images
    seen = watched(monkeypatch)
    mask = np.arange(len(images)) % 7 == 0
    for index in (3, -1, slice(5, 9), slice(None, None, -20), [4, 4, 1], np.array([7, -2]), mask, slice(3, 3)):
        np.testing.assert_array_equal(images[index], expected[index])
    assert len(seen) == 1 + 1 + 4 + 5 + 3 + 2 + mask.sum()
    for wrong in (81, [0, 81], np.ones(5, bool)):
        with pytest.raises(IndexError):
            images[wrong]
        with pytest.raises(IndexError):
            expected[wrong]
    part = disk.train.take(mask)
    assert part.streamed and len(part) == mask.sum()
    np.testing.assert_array_equal(part.take([1, 0]).images[:], expected[mask][[1, 0]])
    with pytest.raises(data.DatasetError, match="81 images"):
        disk.train.take([81])


def test_nothing_reads_all_by_accident(tmp_path):
    images = both(tmp_path, "tfds")[1].train.images
    for make in (np.asarray, np.array):
        with pytest.raises(
            TypeError, match=r"81 images that are read from disk .* or load the data without stream=True"
        ):
            make(images)


@pytest.mark.parametrize("kind", ["tfds", "folder"])
def test_batches_are_those_in_memory(kind, tmp_path):
    memory, disk = both(tmp_path, kind)
    for how in (
        {"seed": 0, "epoch": 0},
        {"seed": 7, "epoch": 2, "first": 1},
        {"seed": 7, "epoch": 2, "share": slice(2, 5)},
    ):
        found, expected = (data.batches(part, 8, **how) for part in (disk.train, memory.train))
        assert assert_same_batches(found, expected) == len(memory.train) // 8 - how.get("first", 0)


def test_any_number_of_workers_gives_the_same_batches(tmp_path):
    make_folder(tmp_path, train=90, test=16)
    memory = data.load("toys", data_dir=tmp_path).train
    disk = data.load("toys", data_dir=tmp_path, stream=True, workers=2).train
    reader, expected = Batches(disk, 8, seed=5), Batches(memory, 8, seed=5)
    try:
        # The second epoch goes on with the workers of the first, from a batch in the middle with others.
        for epoch, first in ((1, 7), (2, 0)):
            assert assert_same_batches(reader.epoch(epoch, first), expected.epoch(epoch, first)) == 10 - first
    finally:
        reader.close()


def test_what_a_resume_skips_is_not_read(tmp_path, monkeypatch):
    make_folder(tmp_path, train=90, test=16)
    disk = data.load("toys", data_dir=tmp_path, stream=True, validation=0).train
    skipped = np.concatenate(_positions(disk, epoch=4)[:6])
    seen = watched(monkeypatch)
    assert len(list(data.batches(disk, 10, seed=1, epoch=4, first=6))) == 3
    # What is read ahead when the epoch ends belongs to the next one.
    assert len(seen) <= 10 * (3 + 3) and not set(seen[:30]) & set(skipped.tolist())


def _positions(disk, epoch):
    indexed = data.Dataset("order", np.arange(90, dtype=np.uint8)[:, None], disk.labels, disk.class_names)
    return [xs[:, 0] for xs, _ in data.batches(indexed, 10, seed=1, epoch=epoch)]


def test_an_epoch_goes_on_with_what_was_read_ahead(tmp_path, monkeypatch):
    _, disk = both(tmp_path, "tfds")
    seen = watched(monkeypatch)
    reader = Batches(disk.train, 8, seed=0)
    for epoch in range(3):
        assert len(list(reader.epoch(epoch))) == 10
    reader.close()
    assert 3 * 80 <= len(seen) <= 3 * 80 + 3 * 8


def test_a_sample_is_bounded_and_has_every_class(tmp_path):
    memory, disk = both(tmp_path, "tfds")
    assert memory.train.sample(10) is memory.train
    whole, few = disk.train.sample(), disk.train.sample(12 * 6 * 5 * 3)
    assert not whole.streamed and len(whole) == 81 and len(few) == 12
    np.testing.assert_array_equal(whole.images, memory.train.images)
    assert np.bincount(few.labels).tolist() == [3, 3, 3, 3]
    assert {image.tobytes() for image in few.images} < {image.tobytes() for image in memory.train.images}
    np.testing.assert_array_equal(few.images, disk.train.sample(12 * 6 * 5 * 3).images)


def test_a_fingerprint_tells_images_apart_and_not_folders(tmp_path):
    make_folder(tmp_path / "a", train=30, test=8)
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    make_folder(tmp_path / "c", train=31, test=8)
    a, b, c = (data.load("toys", data_dir=tmp_path / x, stream=True, validation=0).train for x in "abc")
    assert a.images.fingerprint() == b.images.fingerprint() != c.images.fingerprint()
    assert a.images.fingerprint() != a.take(np.arange(5)).images.fingerprint() and len(a.images.fingerprint()) == 32
    assert a.take(np.arange(30)[::-1]).images.fingerprint() != a.images.fingerprint()
    root = class_folder(tmp_path)
    before = data.from_folder(root, stream=True, validation=0).train.images.fingerprint()
    (root / "class0" / "000.png").rename(root / "class0" / "0000.png")
    assert data.from_folder(root, stream=True, validation=0).train.images.fingerprint() != before


def test_labels_are_read_once(tmp_path, capsys, monkeypatch):
    make_folder(tmp_path, train=90, test=16)
    monkeypatch.setattr("noprop_ode.data._tfds._TELL_ABOVE", 50)
    for expected in ("reading the labels of toys train, 90 images, once", ""):
        data.load("toys", data_dir=tmp_path, stream=True)
        assert expected in capsys.readouterr().err
    assert sorted(path.name[:16] for path in (tmp_path / "cache").iterdir()) == ["toys-1.2.3-test-", "toys-1.2.3-train"]


def test_streamed_images_go_to_other_processes(tmp_path):
    _, disk = both(tmp_path, "tfds")
    again = pickle.loads(pickle.dumps(disk.train.images))
    np.testing.assert_array_equal(again[[5, 2]], disk.train.images[[5, 2]])
