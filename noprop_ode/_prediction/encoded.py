"""Images that have been through the image branch, which prediction takes in place of an array."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Features
from .views import View


class EncodedImages(eqx.Module):
    """What the image branch of a model made of some images, from [`noprop_ode.encode`][].

    `views` are its features of the images and, if they were encoded too, of their mirror images and of both shifted;
    each array in them has a leading axis n. `kinds` says what each of them is: whether mirrored, and by how many
    pixels moved down and to the right.
    """

    views: tuple[Features, ...]
    kinds: tuple[View, ...] = eqx.field(static=True)

    def __len__(self) -> int:
        return len(jax.tree.leaves(eqx.filter(self.views, eqx.is_array))[0])

    def __getitem__(self, index: slice) -> "EncodedImages":
        return _mapped(lambda array: array[index], self)

    def padded(self, size: int) -> "EncodedImages":
        """**Arguments:** `size`, at least their number. **Returns:** so many, the first again and again at the end."""
        missing = size - len(self)
        return _mapped(lambda array: jnp.concatenate([array, jnp.repeat(array[:1], missing, axis=0)]), self)


def _mapped(function: Any, images: EncodedImages) -> EncodedImages:
    return jax.tree.map(lambda leaf: function(leaf) if eqx.is_array(leaf) else leaf, images)
