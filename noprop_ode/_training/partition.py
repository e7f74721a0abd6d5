"""One optimiser for the network, another for what stands around it."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from .._vector_field import AbstractVectorField


def partitioned(
    field: optax.GradientTransformation, rest: optax.GradientTransformation
) -> optax.GradientTransformation:
    """One optimiser for the network, another for what stands around it: readout, embedding, schedule.

    For blocks that are to be optimised each on its own, [`noprop_ode.blockwise`][] takes a `rest` of its own.

    !!! example

        ```python
        noprop_ode.partitioned(optax.adamw(1e-3), optax.adam(1e-4))
        ```

    **Arguments:**

    - `field`: for the vector field of the model.
    - `rest`: for every other array.

    **Returns:** an optax transformation for models of this package; also where `fit` applies it to
    each block on its own.
    """

    def labels(params: PyTree[Any]) -> PyTree[str]:
        return jax.tree.map(of, params, is_leaf=is_field)

    def of(node: Any) -> PyTree[str]:
        # By its type and not by its place in the model: blocks that are optimised apart come without one.
        return jax.tree.map(lambda _: "field", node) if is_field(node) else "rest"

    return optax.partition({"field": field, "rest": rest}, labels)


def is_field(node: Any) -> bool:
    """Whether a node of a PyTree is a network."""
    return isinstance(node, AbstractVectorField)
