"""Augmentation against plain slicing."""

import jax
import jax.random as jr
import numpy as np

from noprop_ode.data import crop_and_flip


IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6, 5, 3), dtype=np.uint8)


def candidates(image, padding, flip):
    """Every image that could come out."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
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
