"""Images that have been through the image branch, which prediction accepts in place of an array."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._model import AbstractModel
from .._types import Features
from .._vector_field import AbstractSizedField
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


def check_features(model: AbstractModel, images: EncodedImages) -> None:
    """Refuses features that another network made, if the sizes of this model's are known.

    **Raises:** `ValueError`.
    """
    sizes = model.field.sizes if isinstance(model.field, AbstractSizedField) else None
    if sizes is None:
        return
    expected, found = (
        [tuple(leaf.shape[skipped:]) for leaf in jax.tree.leaves(eqx.filter(features, _has_shape))]
        for features, skipped in ((sizes.features, 0), (images.views[0], 1))
    )
    if expected != found:
        raise ValueError(
            f"Expected features of this model, of the shapes {expected} for an image; got {found}. Encode the images "
            "by the model that predicts: noprop_ode.encode(model, images)."
        )


def _has_shape(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _mapped(function: Any, images: EncodedImages) -> EncodedImages:
    return jax.tree.map(lambda leaf: function(leaf) if eqx.is_array(leaf) else leaf, images)
