"""From settings to objects: the only place where a string chooses a class."""

from dataclasses import dataclass
from typing import Any

import jax.random as jr
import optax

from .. import (
    AbstractNoiseSchedule,
    AbstractObjective,
    AbstractVectorField,
    CosineSchedule,
    CrossEntropy,
    ELBOWeighting,
    LearnedSchedule,
    LinearSchedule,
    MinSNRWeighting,
    NoPropCT,
    OneHot,
    PowerTimes,
    SigmoidSchedule,
    SigmoidWeighting,
    SquaredError,
    UniformWeighting,
    nn,
)
from .._types import Key
from ._config import Config


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data: shape, classes and pixel statistics."""

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: float
    std: float

    @staticmethod
    def from_json(values: dict[str, Any]) -> "DataSpec":
        """From plain values, as `dataclasses.asdict` gives them."""
        return DataSpec(
            image_shape=tuple(values["image_shape"]),
            class_names=tuple(values["class_names"]),
            mean=values["mean"],
            std=values["std"],
        )


def build_model(config: Config, spec: DataSpec, *, key: Key) -> NoPropCT:
    """The untrained model of an experiment.

    **Arguments:**

    - `config`: the settings.
    - `spec`: shape, classes and pixel statistics of the data.
    - `key`: initialises the weights.

    **Returns:** the model.
    """
    field_key, schedule_key, model_key = jr.split(key, 3)
    return NoPropCT(
        _build_field(config, spec, field_key),
        schedule=_build_schedule(config, schedule_key),
        embedding=OneHot(len(spec.class_names)),
        objective=_build_objective(config),
        times=PowerTimes(config.time_power),
        eta=config.eta,
        key=model_key,
    )


def _build_field(config: Config, spec: DataSpec, key: Key) -> AbstractVectorField:
    classes = len(spec.class_names)
    match config.field:
        case "conv":
            return nn.ConvField(
                spec.image_shape, classes, classes, dropout=config.dropout, mean=spec.mean, std=spec.std, key=key
            )
        case "mlp":
            return nn.MLPField(spec.image_shape, classes, classes, key=key)


def _build_schedule(config: Config, key: Key) -> AbstractNoiseSchedule:
    ends = (-config.log_snr, config.log_snr)
    match config.schedule:
        case "cosine":
            return CosineSchedule(*ends)
        case "linear":
            return LinearSchedule(*ends)
        case "sigmoid":
            return SigmoidSchedule(6.0, *ends)
        case "learned":
            return LearnedSchedule(*ends, key=key)


def _build_objective(config: Config) -> AbstractObjective:
    weighting = {
        "uniform": UniformWeighting,
        "elbo": ELBOWeighting,
        "min-snr": MinSNRWeighting,
        "sigmoid": SigmoidWeighting,
    }[config.weighting]()
    return {"cross-entropy": CrossEntropy, "squared-error": SquaredError}[config.objective](weighting)


def build_optimiser(config: Config, num_steps: int) -> optax.GradientTransformation:
    """AdamW with linear warm-up and cosine decay.

    **Arguments:**

    - `config`: the settings.
    - `num_steps`: steps of the whole run.

    **Returns:** the transformation.
    """
    warmup = max(1, num_steps // 20)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, max(num_steps, warmup + 1))
    return optax.adamw(rate, weight_decay=config.weight_decay)
