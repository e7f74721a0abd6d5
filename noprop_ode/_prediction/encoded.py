"""Images that have been through the image branch, which prediction accepts in place of an array."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Features
from .views import View


class EncodedImages(eqx.Module):
    """Images encoded by the image branch of a model, from [`noprop_ode.encode`][].

    `views` holds the features of the images and, if encoded too, of their mirror images and of both shifted; each array
    has a leading axis n. `kinds` describes each view: whether it is mirrored, and by how many pixels it is moved down
    and to the right.
    """

    views: tuple[Features, ...]
    kinds: tuple[View, ...] = eqx.field(static=True)

    def __len__(self) -> int:
        return len(jax.tree.leaves(eqx.filter(self.views, eqx.is_array))[0])

    def __getitem__(self, index: slice) -> "EncodedImages":
        return _mapped(lambda array: array[index], self)

    def padded(self, size: int) -> "EncodedImages":
        """**Arguments:** `size`, at least their number. **Returns:** that many, padded with copies of the first."""
        missing = size - len(self)
        return _mapped(lambda array: jnp.concatenate([array, jnp.repeat(array[:1], missing, axis=0)]), self)


def _mapped(function: Any, images: EncodedImages) -> EncodedImages:
    return jax.tree.map(lambda leaf: function(leaf) if eqx.is_array(leaf) else leaf, images)
