"""One optimiser for the network, another for what stands around it."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree


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

    **Returns:** an optax transformation for models with an attribute `field`.
    """

    def labels(params: PyTree[Any]) -> PyTree[str]:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "field" if getattr(path[0], "name", None) == "field" else "rest", params
        )

    return optax.partition({"field": field, "rest": rest}, labels)
