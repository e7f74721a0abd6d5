from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import Features, Image, Key, Latent, Logits, Scalar
from .._vector_field import AbstractVectorField


class LowPrecision(AbstractVectorField):
    """Another field, computed in a smaller floating-point type.

    A wrapper: the weights are kept, and optimised, in float32, and are rounded on the way in. State and time come in as
    float32, and logits go out as float32; so the schedule, the embedding, the loss and the solver are not touched.
    Layers of your own follow if they cast their input to the type of their weight, as those of
    `noprop_ode.nn` do.
    """

    field: AbstractVectorField
    dtype: Any = eqx.field(static=True)

    def __init__(self, field: AbstractVectorField, *, dtype: Any = "bfloat16"):
        """**Arguments:**

        - `field`: the network, with float32 weights.
        - `dtype`: a floating-point type.

        **Raises:** `TypeError` for another type.
        """
        self.dtype = jnp.dtype(dtype)
        if not jnp.issubdtype(self.dtype, jnp.floating):
            raise TypeError(f"A network computes in a floating-point type; got {self.dtype}.")
        self.field = field

    def _rounded(self) -> AbstractVectorField:
        return jax.tree.map(lambda a: a.astype(self.dtype) if eqx.is_inexact_array(a) else a, self.field)

    def encode(self, x: Image, *, key: Key | None = None) -> Features:
        """See [`noprop_ode.AbstractVectorField.encode`][]; features in the smaller type."""
        return self._rounded().encode(x, key=key)

    def __call__(self, t: Scalar, z: Latent, features: Features) -> Logits:
        """See [`noprop_ode.AbstractVectorField.__call__`][]; logits in float32."""
        return self._rounded()(t, z, features).astype(jnp.float32)
