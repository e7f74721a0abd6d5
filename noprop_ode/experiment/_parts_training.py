"""What configurations know by name from the start: how to train and how to predict. `register` adds to it."""

from typing import Any, Literal

import diffrax
import optax

from .. import (
    ODE,
    SDE,
    AllBlocks,
    Ancestral,
    BlocksInTurn,
    CrossEntropy,
    EarlyExit,
    ELBOWeighting,
    MinSNRWeighting,
    PowerTimes,
    SampledBlock,
    SigmoidWeighting,
    SquaredError,
    UniformTimes,
    UniformWeighting,
)
from ..data import crop_and_flip
from ._context import Context
from ._errors import ConfigError
from ._registry import register


@register("objective", "cross-entropy")
def _cross_entropy(context: Context):
    weighting = context.build("weighting")
    return CrossEntropy() if weighting is None else CrossEntropy(weighting)


@register("objective", "squared-error")
def _squared_error(context: Context):
    weighting = context.build("weighting")
    return SquaredError() if weighting is None else SquaredError(weighting)


@register("weighting", "default")
def _default_weighting(context: Context):
    return None


@register("weighting", "uniform")
def _uniform_weighting(context: Context):
    return UniformWeighting()


@register("weighting", "elbo")
def _elbo_weighting(context: Context):
    return ELBOWeighting()


@register("weighting", "min-snr")
def _min_snr(context: Context, *, cap: float = 5.0):
    return MinSNRWeighting(cap)


@register("weighting", "sigmoid")
def _sigmoid_weighting(context: Context, *, bias: float = 0.0):
    return SigmoidWeighting(bias)


@register("times", "uniform")
def _uniform_times(context: Context):
    return UniformTimes()


@register("times", "power")
def _power_times(context: Context, *, power: float = 3.0):
    return PowerTimes(power)


@register("plan", "all-blocks")
def _all_blocks(context: Context):
    return AllBlocks()


@register("plan", "blocks-in-turn")
def _blocks_in_turn(context: Context):
    return BlocksInTurn()


@register("plan", "sampled-block")
def _sampled_block(context: Context):
    return SampledBlock()


@register("optimiser", "adamw")
def _adamw(rate: optax.ScalarOrSchedule, *, weight_decay: float = 1e-3, b1: float = 0.9, b2: float = 0.999):
    return optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay)


@register("optimiser", "adam")
def _adam(rate: optax.ScalarOrSchedule, *, l2: float = 0.0, b1: float = 0.9, b2: float = 0.999):
    # The decay enters the gradient, and so the moments: what optimisers call weight decay where it is not decoupled.
    return optax.chain(optax.add_decayed_weights(l2), optax.adam(rate, b1=b1, b2=b2))


@register("optimiser", "sgd")
def _sgd(rate: optax.ScalarOrSchedule, *, momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0):
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(rate, momentum, nesterov))


@register("optimiser", "lamb")
def _lamb(rate: optax.ScalarOrSchedule, *, weight_decay: float = 1e-3):
    return optax.lamb(rate, weight_decay=weight_decay)


@register("learning_rate", "warmup-cosine")
def _warmup_cosine(peak: float, steps: int, *, warmup: float = 0.05, final: float = 0.0):
    first = max(1, round(warmup * steps))
    return optax.warmup_cosine_decay_schedule(0.0, peak, first, max(steps, first + 1), end_value=final * peak)


@register("learning_rate", "constant")
def _constant(peak: float, steps: int, *, warmup: float = 0.0):
    first = round(warmup * steps)
    return optax.schedules.warmup_constant_schedule(0.0, peak, first) if first else optax.constant_schedule(peak)


@register("augmentation", "none")
def _none():
    return None


@register("augmentation", "crop-flip")
def _crop_flip(*, padding: int = 4, flip: bool = True):
    if padding < 0:
        raise ConfigError(f"data.augmentation.padding is a number of pixels, at least 0; got {padding}.")
    return lambda xs, key: crop_and_flip(xs, key=key, padding=padding, flip=flip)


@register("sampler", "default")
def _default_sampler():
    return None


_SOLVERS: dict[str, Any] = {
    "euler": diffrax.Euler,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "ralston": diffrax.Ralston,
    "bosh3": diffrax.Bosh3,
    "dopri5": diffrax.Dopri5,
    "tsit5": diffrax.Tsit5,
}


def _stopped(sampler: Any, early_exit: float | None) -> Any:
    return sampler if early_exit is None else EarlyExit(sampler, confidence=early_exit)


@register("sampler", "ode")
def _ode(
    *,
    solver: Literal["euler", "heun", "midpoint", "ralston", "bosh3", "dopri5", "tsit5"] = "heun",
    steps: int = 20,
    early_exit: float | None = None,
):
    return _stopped(ODE(_SOLVERS[solver](), steps=steps), early_exit)


@register("sampler", "adaptive")
def _adaptive(
    *,
    solver: Literal["heun", "bosh3", "dopri5", "tsit5"] = "tsit5",
    tolerance: float = 1e-3,
    max_steps: int = 4096,
    early_exit: float | None = None,
):
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    return _stopped(ODE(_SOLVERS[solver](), stepsize_controller=controller, max_steps=max_steps), early_exit)


@register("sampler", "ancestral")
def _ancestral(*, steps: int = 10, churn: float = 1.0, early_exit: float | None = None):
    return _stopped(Ancestral(steps, churn=churn), early_exit)


@register("sampler", "ddim")
def _ddim(*, steps: int = 10, early_exit: float | None = None):
    return _stopped(Ancestral(steps, churn=0.0), early_exit)


@register("sampler", "sde")
def _sde(*, steps: int = 100, solver: Literal["euler", "shark"] = "euler", early_exit: float | None = None):
    return _stopped(SDE(steps, {"euler": diffrax.Euler, "shark": diffrax.ShARK}[solver]()), early_exit)
