"""Which arrays an optimiser may change."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from ._blocks import AbstractBlockPlan
from ._choices import AbstractDecoder, AbstractSampler
from ._freezable import AbstractFreezable
from ._gaussian import AbstractEndState
from ._objectives.objective import AbstractObjective
from ._objectives.times import AbstractTimes
from ._objectives.weighting import AbstractWeighting


# Their arrays are settings, such as the times of a sampler or the weights of a loss.
_SETTINGS = (
    AbstractBlockPlan,
    AbstractDecoder,
    AbstractEndState,
    AbstractObjective,
    AbstractSampler,
    AbstractTimes,
    AbstractWeighting,
    eqx.nn.State,  # running statistics of a network that was trained elsewhere
)


def trainable_mask(model: PyTree[Any]) -> PyTree[Any]:
    """Marks the arrays that an optimiser may change, for `equinox.partition` or `optax.masked`.

    **Arguments:**

    - `model`: any PyTree of modules.

    **Returns:** the same structure with a boolean in place of each leaf: true for floating-point arrays that are
    not part of a frozen module, or of a setting: a sampler, a decoder, an objective, a weighting, a distribution of
    times, a block plan, an end state or an `equinox.nn.State`.
    """
    return jax.tree.map(_mark, model, is_leaf=_is_frozen)


def _mark(node: Any) -> Any:
    if _is_frozen(node):
        return jax.tree.map(lambda _: False, node)
    # A NumPy scalar, from `np.linspace` for instance, is a setting too; Equinox treats it as an array.
    return eqx.is_inexact_array(node) and not isinstance(node, np.generic)


def _is_frozen(node: Any) -> bool:
    return isinstance(node, _SETTINGS) or (isinstance(node, AbstractFreezable) and not node.trainable)
