"""Networks in a smaller floating-point type."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._types import Features, Image, Key, Latent, Logits, Scalar
from .._vector_field import AbstractSizedField, AbstractVectorField, FieldSizes
from ._image import to_float


class LowPrecision(AbstractSizedField):
    """Another field, computed in a smaller floating-point type.

    This is a wrapper: the weights are stored and optimised in float32, and rounded on the way in. State and time come
    in as float32, and logits go out as float32, so the schedule, the embedding, the loss and the solver are unaffected.

    Inside, the image (in [0, 1]), the state and the features arrive in the smaller type, like the weights, so that
    plain `equinox.nn` layers compute in it. Only the time stays float32, as sinusoidal features need: cast what you
    compute from it to the dtype of the state.
    """

    field: AbstractVectorField
    dtype: Any = eqx.field(static=True)

    def __init__(self, field: AbstractVectorField, *, dtype: Any = "bfloat16"):
        """**Arguments:**

        - `field`: the network, with float32 weights.
        - `dtype`: a floating-point type with the range of float32, such as bfloat16. Gradients in float16 vanish,
            because the loss is not scaled.

        **Raises:** `TypeError` for another type.
        """
        self.dtype = jnp.dtype(dtype)
        if not jnp.issubdtype(self.dtype, jnp.floating):
            raise TypeError(f"A network computes in a floating-point type; got {self.dtype}.")
        self.field = field

    @property
    def sizes(self) -> FieldSizes | None:
        """The sizes of the field, with features in the smaller type."""
        if not isinstance(self.field, AbstractSizedField) or (sizes := self.field.sizes) is None:
            return None

        def rounded(a: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(a.shape, self.dtype if jnp.issubdtype(a.dtype, jnp.inexact) else a.dtype)

        return sizes._replace(features=jax.tree.map(rounded, sizes.features))

    def encode(self, x: Image, *, key: Key | None = None) -> Features:
        return self._rounded(self.field).encode(self._rounded(to_float(x)), key=key)

    def __call__(self, t: Scalar, z: Latent, features: Features) -> Logits:
        logits = self._rounded(self.field)(t, self._rounded(z), self._rounded(features))
        return logits.astype(jnp.float32)

    def _rounded(self, tree: PyTree[Any]) -> PyTree[Any]:
        return jax.tree.map(lambda a: a.astype(self.dtype) if eqx.is_inexact_array(a) else a, tree)
