"""One optimiser for the network, another for everything around it."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from .._vector_field import AbstractVectorField


def partitioned(
    field: optax.GradientTransformation, rest: optax.GradientTransformation
) -> optax.GradientTransformation:
    """One optimiser for the network, another for everything around it: readout, embedding, schedule.

    To optimise each block separately, use [`noprop_ode.blockwise`][], which takes its own `rest`.

    !!! example

        ```python
        noprop_ode.partitioned(optax.adamw(1e-3), optax.adam(1e-4))
        ```

    **Arguments:**

    - `field`: for the vector field of the model.
    - `rest`: for every other array.

    **Returns:** an optax transformation for models of this package; it also works where `fit` applies it to each block
    separately.
    """

    def labels(params: PyTree[Any]) -> PyTree[str]:
        return jax.tree.map(of, params, is_leaf=is_field)

    def of(node: Any) -> PyTree[str]:
        # By its type, not by its place in the model: blocks that are optimised separately come without one.
        return jax.tree.map(lambda _: "field", node) if is_field(node) else "rest"

    return optax.partition({"field": field, "rest": rest}, labels)


def is_field(node: Any) -> bool:
    """Whether a node of a PyTree is a network."""
    return isinstance(node, AbstractVectorField)
