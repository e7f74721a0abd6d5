"""From settings to an optimiser and its learning rate."""

import jax.numpy as jnp
import optax

from .. import AbstractModel, blockwise, partitioned
from .._block_model import AbstractBlockModel
from ._config import Config
from ._errors import within


def build_optimiser(config: Config, num_steps: int, *, model: AbstractModel) -> optax.GradientTransformation:
    """The optimiser of an experiment.

    **Arguments:**

    - `config`: the settings.
    - `num_steps`: steps of the whole run.
    - `model`: the model to optimise; blocks that train independently are kept apart, clipping included.

    **Returns:** the transformation.

    **Raises:** `ConfigError` for settings that do not fit together.
    """
    section = config.optimiser

    def method(peak: float, steps: int) -> optax.GradientTransformation:
        rate = section.schedule.build("learning_rate", peak, steps)
        inner = section.method.build("optimiser", rate)
        return inner if section.clip is None else optax.chain(optax.clip_by_global_norm(section.clip), inner)

    with within("optimiser"):
        field = method(section.learning_rate, -(-num_steps // _one_in(model)))
        rest = None
        if section.shared_learning_rate is not None or _one_in(model) > 1:
            rest = method(section.shared_learning_rate or section.learning_rate, num_steps)
    if model.independent_blocks is not None:
        return blockwise(field, rest)
    return field if rest is None else partitioned(field, rest)


def build_learning_rate(config: Config, num_steps: int, *, model: AbstractModel) -> optax.Schedule:
    """The learning rate of an experiment as a function of the step; that of the field if there are two, and that of an
    average block if a step trains one block.

    **Arguments:** as for `build_optimiser`. **Returns:** the schedule.
    """
    share = _one_in(model)
    with within("optimiser"):
        rate = config.optimiser.schedule.build("learning_rate", config.optimiser.learning_rate, -(-num_steps // share))
    return rate if share == 1 else lambda step: rate(jnp.floor_divide(step, share))


def _one_in(model: AbstractModel) -> int:
    """A block takes part in one of this many steps, and its optimiser counts only those."""
    if isinstance(model, AbstractBlockModel) and model.plan.one_at_a_time:
        return model.field.num_blocks
    return 1
