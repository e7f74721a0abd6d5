"""Augmentation against plain slicing."""

import jax
import jax.random as jr
import numpy as np
import pytest

from noprop_ode.data import Augmentation, DatasetError, crop_and_flip, cutout, mirror, translate


IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6, 5, 3), dtype=np.uint8)


def candidates(image, padding, flip, mode="constant"):
    """Every image that could come out."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode)
    height, width, _ = image.shape
    for i in range(2 * padding + 1):
        for j in range(2 * padding + 1):
            crop = padded[i : i + height, j : j + width]
            yield crop
            if flip:
                yield crop[:, ::-1]


def test_every_result_is_a_shift_and_all_shifts_occur():
    for padding, flip in ((1, True), (2, False), (0, True)):
        found = np.asarray(crop_and_flip(jax.numpy.asarray(IMAGES), key=jr.key(1), padding=padding, flip=flip))
        seen = set()
        for image, result in zip(IMAGES, found):
            matches = [i for i, c in enumerate(candidates(image, padding, flip)) if np.array_equal(c, result)]
            assert len(matches) == 1
            seen.update(matches)
        assert len(seen) >= 0.8 * (2 * padding + 1) ** 2 * (1 + flip)


def test_without_shift_and_flip_nothing_changes():
    found = crop_and_flip(jax.numpy.asarray(IMAGES), key=jr.key(1), padding=0, flip=False)
    np.testing.assert_array_equal(found, IMAGES)


def test_the_key_decides():
    a, b, c = (np.asarray(crop_and_flip(jax.numpy.asarray(IMAGES), key=jr.key(s))) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def batch(dtype, channels):
    images = np.random.default_rng(1).integers(0, 256, (64, 6, 5, channels), dtype=np.uint8)
    return images if dtype == np.uint8 else (images / np.float32(255)).astype(dtype)


@pytest.mark.parametrize("dtype, channels", [(np.uint8, 1), (np.uint8, 5), (np.float32, 3)])
def test_translations_are_shifts_with_mirrored_edges(dtype, channels):
    images = batch(dtype, channels)
    for pixels in (1, 2):
        found = np.asarray(translate(jax.numpy.asarray(images), key=jr.key(1), pixels=pixels))
        assert found.dtype == dtype
        seen = set()
        for image, result in zip(images, found):
            matches = [
                i for i, c in enumerate(candidates(image, pixels, False, "reflect")) if np.array_equal(c, result)
            ]
            assert len(matches) == 1
            seen.update(matches)
        assert len(seen) >= 0.8 * (2 * pixels + 1) ** 2
    with pytest.raises(DatasetError, match="less than 5 pixels"):
        translate(jax.numpy.asarray(images), key=jr.key(1), pixels=5)


def test_half_of_the_images_are_mirrored():
    found = np.asarray(mirror(jax.numpy.asarray(IMAGES), key=jr.key(1)))
    same = [np.array_equal(a, b) for a, b in zip(IMAGES, found)]
    flipped = [np.array_equal(a[:, ::-1], b) for a, b in zip(IMAGES, found)]
    assert all(a != b for a, b in zip(same, flipped)) and 20 < sum(same) < 44


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_cutout_blackens_one_square(size):
    images = np.maximum(IMAGES, 1)
    found = np.asarray(cutout(jax.numpy.asarray(images), key=jr.key(1), size=size))
    centres = set()
    for image, result in zip(images, found):
        hidden = (result == 0).all(axis=2)
        np.testing.assert_array_equal(result, np.where(hidden[..., None], 0, image))
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        assert hidden.sum() == len(rows) * len(columns) <= size**2
        centres.add((*rows, -1, *columns))
    assert size == 0 or len(centres) > 15


def test_an_augmentation_is_its_parts_in_turn():
    images = jax.numpy.asarray(IMAGES)
    a, b, c = jr.split(jr.key(3), 3)
    expected = cutout(translate(mirror(images, key=a), key=b, pixels=2), key=c, size=2)
    np.testing.assert_array_equal(Augmentation(hole=2)(images, key=jr.key(3)), expected)
    np.testing.assert_array_equal(Augmentation(flip=False, pixels=0)(images, key=jr.key(3)), images)
    with pytest.raises(DatasetError, match="at least 0"):
        Augmentation(pixels=-1)


def test_everything_stays_on_the_device():
    images = jax.numpy.asarray(IMAGES)
    keys = jr.key(0)
    full = Augmentation(hole=2)
    for augment in (crop_and_flip, full):
        augment(images, key=keys)  # constants are made while it compiles
        with jax.transfer_guard("disallow"):
            augment(images, key=keys).block_until_ready()


def test_floats_come_through_exactly():
    images = batch(np.float32, 2)
    found = np.asarray(crop_and_flip(jax.numpy.asarray(images), key=jr.key(0), padding=1))
    for image, result in zip(images, found):
        assert any(np.array_equal(c, result) for c in candidates(image, 1, True))
