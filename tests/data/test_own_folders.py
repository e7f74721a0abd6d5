"""Data of the user's own: folders of pictures, one folder a class."""

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noprop_ode import data
from noprop_ode.data._picture_files import PictureFiles


def colours(n, size=(4, 5), channels=3, seed=0):
    shape = (n, *size, channels) if channels > 1 else (n, *size)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def put(folder: Path, images, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03d}{suffix}")


def test_one_folder_a_class(tmp_path):
    cats, ants = colours(10), colours(20, seed=1)
    put(tmp_path / "cat", cats)
    put(tmp_path / "ant", ants)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / ".hidden.png").write_text("not an image")
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("about them")
    splits = data.from_folder(tmp_path, validation=0)
    assert splits.train.class_names == ("ant", "cat") and splits.validation is None and splits.test is None
    np.testing.assert_array_equal(splits.train.images, np.concatenate([ants, cats]))
    assert splits.train.labels.tolist() == [0] * 20 + [1] * 10
    cut = data.from_folder(str(tmp_path), test=6, validation=0.25)
    assert cut.validation is not None and cut.test is not None
    assert [np.bincount(part.labels).tolist() for part in (cut.train, cut.validation, cut.test)] == [
        [12, 6],
        [4, 2],
        [4, 2],
    ]
    again = data.from_folder(tmp_path, test=6, validation=0.25)
    np.testing.assert_array_equal(cut.train.images, again.train.images)


def test_parts_in_folders_of_their_own(tmp_path):
    for part, n in (("train", 10), ("test", 3), ("val", 2)):
        for label in "ab":
            put(tmp_path / part / label, colours(n, seed=ord(label)))
    splits = data.from_folder(tmp_path)
    assert splits.validation is not None and splits.test is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (20, 4, 6)
    assert data.from_folder(tmp_path, validation=0).validation is None
    with pytest.raises(data.DatasetError, match="leave test"):
        data.from_folder(tmp_path, test=0.1)
    put(tmp_path / "test" / "c", colours(1))
    with pytest.raises(data.DatasetError, match=r"got \['c'\] too"):
        data.from_folder(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    for label in ("train", "bus"):
        put(tmp_path / label, colours(3))
    assert data.from_folder(tmp_path, validation=0).train.class_names == ("bus", "train")
    (tmp_path / "train" / "old").mkdir()  # pictures beside it say that "train" is a class
    assert data.from_folder(tmp_path, validation=0).train.class_names == ("bus", "train")


def test_a_folder_that_is_no_part_is_named(tmp_path):
    for part in ("train", "valid"):
        put(tmp_path / part / "a", colours(4))
    splits = data.from_folder(tmp_path)
    assert splits.validation is not None and len(splits.train) == len(splits.validation) == 4
    put(tmp_path / "extra" / "a", colours(1))
    with pytest.raises(data.DatasetError, match=r"train holds one folder a class, got \['extra'\] too"):
        data.from_folder(tmp_path)
    (tmp_path / "extra").rename(tmp_path / "val")
    with pytest.raises(data.DatasetError, match=r"one folder of validation images .* got 'val' and 'valid'"):
        data.from_folder(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".gif", ".JPG", ".webp"])
def test_formats(tmp_path, suffix):
    images = np.repeat(colours(2, (8, 8), 1), 2, axis=0)
    put(tmp_path / "a", images, suffix)
    found = data.from_folder(tmp_path, validation=0).train
    assert found.image_shape[:2] == (8, 8)
    if suffix not in (".JPG", ".webp"):  # those lose some
        np.testing.assert_array_equal(found.images[..., 0], images)


def test_channels(tmp_path):
    grey, colour = colours(2, channels=1), colours(2)
    put(tmp_path / "grey", grey)
    assert data.from_folder(tmp_path, validation=0).train.image_shape == (4, 5, 1)
    assert data.from_folder(tmp_path, validation=0, channels=3).train.image_shape == (4, 5, 3)
    put(tmp_path / "x", colour)
    mixed = data.from_folder(tmp_path, validation=0).train.images
    np.testing.assert_array_equal(mixed[:2], np.repeat(grey[..., None], 3, axis=3))
    assert data.from_folder(tmp_path, validation=0, channels=1).train.image_shape == (4, 5, 1)
    transparent = np.concatenate([colour[0], np.full((4, 5, 1), 99, np.uint8)], axis=2)
    put(tmp_path / "y", [transparent])
    np.testing.assert_array_equal(data.from_folder(tmp_path, validation=0).train.images[-1], colour[0])


def test_16_bits_are_rounded_not_clipped(tmp_path):
    values = np.array([[0, 257, 128 * 257], [65535, 300, 1000]], np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(values).save(tmp_path / "a" / "x.png")
    found = data.from_folder(tmp_path, validation=0).train.images
    assert found[0, ..., 0].tolist() == [[0, 1, 128], [255, 1, 4]]


def test_floating_point_is_grey_from_0_to_1_or_refused(tmp_path):
    values = np.array([[0, 0.5], [1, 0.25]], np.float32)
    put(tmp_path / "a", [values], ".tif")
    assert data.from_folder(tmp_path, validation=0).train.images[0, ..., 0].tolist() == [[0, 128], [255, 64]]
    put(tmp_path / "a", [values * 255], ".tif")
    with pytest.raises(data.DatasetError, match=r"lie in \[0, 255\], expected \[0, 1\]"):
        data.from_folder(tmp_path)


def test_pictures_are_turned_as_their_cameras_say(tmp_path):
    (tmp_path / "a").mkdir()
    picture = Image.fromarray(colours(1)[0])
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a" / "x.png", exif=exif)
    found = data.from_folder(tmp_path, validation=0).train.images[0]
    np.testing.assert_array_equal(found, np.rot90(colours(1)[0], -1))


def test_sizes(tmp_path):
    put(tmp_path / "a", colours(2))
    put(tmp_path / "b", colours(2, (6, 6)))
    with pytest.raises(data.DatasetError, match=r"000.png has 4x5 and .*000.png has 6x6; pass image_size"):
        data.from_folder(tmp_path)
    assert data.from_folder(tmp_path, image_size=(3, 7), validation=0).train.images.shape == (4, 3, 7, 3)


def png_bomb(path):
    """Says 60000x60000 in a few bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def truncated(path):
    buffer = io.BytesIO()
    Image.fromarray(colours(1, (40, 40))[0]).resize((5, 4)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:-30])


def postscript(path):
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize(
    "damage",
    [png_bomb, truncated, postscript, lambda path: path.write_bytes(b""), lambda path: path.write_text("<html>")],
)
def test_corrupt_files_are_named(tmp_path, damage):
    put(tmp_path / "a", colours(2))
    damage(tmp_path / "a" / "strange.png")
    with pytest.raises(data.DatasetError, match=r"cannot read .*strange.png as an image"):
        data.from_folder(tmp_path, validation=0)


def test_links_are_not_followed_unasked(tmp_path):
    put(tmp_path / "elsewhere" / "c", colours(2))
    root = tmp_path / "mine"
    put(root / "a", colours(2))
    (root / "b").symlink_to(tmp_path / "elsewhere" / "c")
    with pytest.raises(data.DatasetError, match="b is a symbolic link; pass follow_links=True"):
        data.from_folder(root)
    assert len(data.from_folder(root, follow_links=True, validation=0).train) == 4
    (root / "b").unlink()
    (root / "a" / "x.png").symlink_to(tmp_path / "elsewhere" / "c" / "000.png")
    with pytest.raises(data.DatasetError, match=r"x.png is a symbolic link"):
        data.from_folder(root)
    assert len(data.from_folder(root, follow_links=True, validation=0).train) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_on(tmp_path):
    put(tmp_path / "a", colours(2))
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert len(data.from_folder(tmp_path, validation=0).train) == 2


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(data.DatasetError, match="expected a folder of images"):
        data.from_folder(tmp_path / "none")
    with pytest.raises(data.DatasetError, match="got no folders"):
        data.from_folder(tmp_path)
    put(tmp_path / "a", colours(2))
    (tmp_path / "b").mkdir()
    with pytest.raises(data.DatasetError, match="got none; put some there"):
        data.from_folder(tmp_path)
    for how in ({"channels": 2}, {"image_size": (0, 1)}, {"validation": -1}, {"test": 2.0}):
        with pytest.raises(data.DatasetError, match="expected"):
            data.from_folder(tmp_path, **how)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_turned_picture(tmp_path, suffix, orientation):
    (tmp_path / "a").mkdir()
    picture = Image.fromarray(colours(1)[0])
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a" / f"x.{suffix}", exif=exif)
    found = data.from_folder(tmp_path, validation=0).train.images[0]
    np.testing.assert_array_equal(found, np.rot90(colours(1)[0], {1: 0, 3: 2, 6: -1, 8: 1}[orientation]))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_of_more_pixels_than_pillow_allows_are_refused(tmp_path, monkeypatch):
    put(tmp_path / "a", colours(2))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 19)  # of 20; Pillow itself refuses twice as many
    with pytest.raises(data.DatasetError, match=r"000.png as an image: it has 5x4 pixels, more than .*19"):
        data.from_folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert len(data.from_folder(tmp_path, validation=0).train) == 2


def test_warnings_stay_as_they_were_whichever_thread_reads_first(tmp_path):
    odd = Image.new("P", (5, 4))
    odd.putpalette([0, 0, 0, 9, 9, 9])
    (tmp_path / "a").mkdir()
    odd.save(tmp_path / "a" / "x.png", transparency=b"\x00\x80")  # Pillow warns of it
    pictures = PictureFiles((str(tmp_path / "a" / "x.png"),) * 50, None, (4, 5, 3))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: pictures.read(np.arange(50)), range(8)))
    added = [entry for entry in warnings.filters if entry not in before]
    assert len(added) <= 1 and all(entry[0] == "ignore" and entry[2] is UserWarning for entry in added)
