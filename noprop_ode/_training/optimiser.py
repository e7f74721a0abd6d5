"""How `fit` applies an optimiser: to each block separately, and at a smaller rate after a rollback."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from .blockwise import BlockwiseTransformation, BlockwiseUpdate
from .step import TrainState


def scaled(state: TrainState, optimiser: optax.GradientTransformation, scale: float) -> TrainState:
    """A state whose optimiser scales its updates; the optimiser's own state is unchanged.

    Updates are proportional to the learning rate in every optimiser of optax that is used with one, but those of
    `optax.contrib.schedule_free`, which also move a point in their state.
    """
    if scale == 1:
        return dataclasses.replace(state, optimiser=optimiser)

    def times(whole: Callable[..., Any]) -> Callable[..., Any]:
        def update(updates: Any, state: Any, params: Any = None) -> Any:
            updates, state = whole(updates, state, params)
            return jax.tree.map(lambda u: (scale * u).astype(u.dtype), updates), state

        return update

    slower = optax.GradientTransformation(optimiser.init, times(optimiser.update))
    if isinstance(optimiser, BlockwiseTransformation):  # and still known to keep blocks apart
        update = BlockwiseUpdate(times(optimiser.update), times(optimiser.of_active.update))
        slower = BlockwiseTransformation(optimiser.init, update)
    return dataclasses.replace(state, optimiser=slower)


def warmup_cosine(peak: float, steps: int, *, warmup: float = 0.05, final: float = 0.0) -> optax.Schedule:
    """A learning rate that rises linearly from zero and falls along half a cosine.

    **Arguments:**

    - `peak`: the largest rate.
    - `steps`: steps of the whole run.
    - `warmup`: share of the steps in which the rate rises.
    - `final`: the rate at the end, as a share of the peak.

    **Returns:** the rate as a function of the step.

    **Raises:** `ValueError` for a negative peak, no step, or a share out of [0, 1].
    """
    if not peak >= 0 or steps < 1 or not 0 <= warmup <= 1 or not 0 <= final <= 1:
        raise ValueError(
            f"Expected peak >= 0, steps >= 1, and warmup and final as shares in [0, 1]; got peak={peak}, "
            f"steps={steps}, warmup={warmup}, final={final}."
        )
    first = round(warmup * steps)
    if first == 0:  # a rise of one step would be a step at rate zero
        return optax.cosine_decay_schedule(peak, steps, alpha=final)
    return optax.warmup_cosine_decay_schedule(0.0, peak, first, max(steps, first + 1), end_value=final * peak)


def on_host(learning_rate: optax.Schedule) -> Callable[[int], float]:
    """A schedule as plain numbers, for the logs: in one compiled program, not one for each of its operations, and on
    the CPU, so as not to wait for an accelerator."""
    compiled = eqx.filter_jit(lambda step: learning_rate(step))  # of this schedule: others may be equal to it

    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        host = None

    def rate(step: int) -> float:
        # The promotion is the one that the schedules of optax are written for.
        with jax.default_device(host), jax.numpy_dtype_promotion("standard"):
            return float(np.asarray(compiled(np.int32(step))))

    return rate
