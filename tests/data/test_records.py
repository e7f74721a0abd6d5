"""Images of prepared folders, decoded to the channels of their feature whatever mode they are stored in."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tfds_folders import Source, arrays, make_folder, png

from noprop_ode import data
from noprop_ode.data._records import Records


COLOUR = Image.fromarray(arrays(1, (6, 5, 3))[0][0])
BITS = Image.fromarray(arrays(1, (6, 5))[0][0]).convert("1", dither=Image.Dither.NONE)


def read(picture, channels, image_size=None, **how):
    source = Source([{"image": png(picture, **how), "label": 2}])
    images, labels = Records(Path("here"), "train", source, ("image", "label"), channels, image_size).read_labelled(
        np.zeros(1, np.int64)
    )
    assert labels.tolist() == [2] and images.dtype == np.uint8
    return images[0]


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_mode_becomes_the_channels_of_the_feature(mode, channels):
    picture = BITS if mode == "1" else COLOUR.convert(mode)
    expected = np.asarray(picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).reshape(6, 5, channels)
    np.testing.assert_array_equal(read(picture, channels), expected)


def test_what_is_stored_as_it_is_wanted_keeps_its_bits():
    for channels in (1, 3, 4):
        image = arrays(1, (6, 5, channels))[0][0]
        np.testing.assert_array_equal(read(image.squeeze(), channels), image)
    assert set(read(BITS, 1).flat) == {0, 255}
    np.testing.assert_array_equal(read(np.full((2, 2), 257 * 9, np.uint16), 1), np.full((2, 2, 1), 9))


def test_no_picture_is_turned_as_its_camera_says_as_tfds_does_not():
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(read(COLOUR, 3, exif=exif), np.asarray(COLOUR))
    assert read(COLOUR, 3, (4, 7), exif=exif).shape == (4, 7, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": "uint16"}, "expected 8-bit images in .*, got .*uint16"),
        ({"shape": {"dimensions": ["6", "5", "2"]}}, r"expected images of 1, 3 or 4 channels .* \(6, 5, 2\)"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_features_that_are_no_pictures_of_bytes_are_refused(tmp_path, change, message, stream):
    _, folder = make_folder(tmp_path, train=20, test=8)
    content = json.loads((folder / "features.json").read_text())
    content["featuresDict"]["features"]["image"]["image"] |= change
    (folder / "features.json").write_text(json.dumps(content))
    with pytest.raises(data.DatasetError, match=message):
        data.load("toys", data_dir=tmp_path, stream=stream)
