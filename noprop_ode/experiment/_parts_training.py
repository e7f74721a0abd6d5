"""The built-in components of configurations: how to train and how to predict. `register` adds others."""

from typing import Annotated, Any, Literal

import diffrax
import optax

from .. import ODE, SDE, Ancestral, EarlyExit, muon, warmup_cosine
from ..data import Augmentation, crop_and_flip
from ._parts_model import nothing
from ._registry import register
from ._values import Interval


Share = Annotated[float, Interval("[0, 1]")]
Decay = Annotated[float, Interval("[0, 1)")]
NotNegative = Annotated[float, Interval("[0, 1e38]")]
Pixels = Annotated[int, Interval("[0, 10000]")]
Steps = Annotated[int, Interval("[1, 1000000]")]
Exit = Annotated[float, Interval("(0, 1]")] | None
Rate = optax.ScalarOrSchedule

register("augmentation", "none")(nothing)
register("sampler", "default")(nothing)


@register("optimiser", "adamw")
def _adamw(learning_rate: Rate, *, weight_decay: NotNegative = 1e-3, b1: Decay = 0.9, b2: Decay = 0.999):
    return optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)


@register("optimiser", "adam")
def _adam(learning_rate: Rate, *, l2: NotNegative = 0.0, b1: Decay = 0.9, b2: Decay = 0.999):
    # The decay enters the gradient, and so the moments: weight decay that is not decoupled.
    return optax.chain(optax.add_decayed_weights(l2), optax.adam(learning_rate, b1=b1, b2=b2))


@register("optimiser", "sgd")
def _sgd(learning_rate: Rate, *, momentum: Decay = 0.9, nesterov: bool = False, weight_decay: NotNegative = 0.0):
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum, nesterov))


@register("optimiser", "lamb")
def _lamb(learning_rate: Rate, *, weight_decay: NotNegative = 1e-3):
    return optax.lamb(learning_rate, weight_decay=weight_decay)


@register("optimiser", "muon")
def _muon(learning_rate: Rate, *, weight_decay: NotNegative = 0.0, momentum: Decay = 0.95, nesterov: bool = True):
    return muon(learning_rate, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)


@register("learning_rate", "warmup-cosine")
def _warmup_cosine(peak: float, num_steps: int, *, warmup: Share = 0.05, final: Share = 0.0):
    return warmup_cosine(peak, num_steps, warmup=warmup, final=final)


@register("learning_rate", "constant")
def _constant(peak: float, num_steps: int, *, warmup: Share = 0.0):
    first = round(warmup * num_steps)
    return optax.schedules.warmup_constant_schedule(0.0, peak, first) if first else optax.constant_schedule(peak)


@register("augmentation", "crop-flip")
def _crop_flip(*, padding: Pixels = 4, flip: bool = True):
    return lambda xs, key: crop_and_flip(xs, key=key, padding=padding, flip=flip)


@register("augmentation", "translate-flip")
def _translate_flip(*, pixels: Pixels = 2, flip: bool = True, hole: Pixels = 0):
    return Augmentation(flip=flip, pixels=pixels, hole=hole)


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
    steps: Steps = 20,
    early_exit: Exit = None,
):
    return _stopped(ODE(_SOLVERS[solver](), steps=steps), early_exit)


@register("sampler", "adaptive")
def _adaptive(
    *,
    solver: Literal["heun", "bosh3", "dopri5", "tsit5"] = "tsit5",
    tolerance: Annotated[float, Interval("(0, 1]")] = 1e-3,
    max_steps: Steps = 4096,
    early_exit: Exit = None,
):
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    return _stopped(ODE(_SOLVERS[solver](), stepsize_controller=controller, max_steps=max_steps), early_exit)


def _register_solver(name: str) -> None:
    """Registers a solver under its own name, which people try first: `sampler: heun`."""

    @register("sampler", name)
    def equal_steps(*, steps: Steps = 20, early_exit: Exit = None):
        return _stopped(ODE(_SOLVERS[name](), steps=steps), early_exit)


for _name in _SOLVERS:
    _register_solver(_name)


@register("sampler", "ancestral")
def _ancestral(*, steps: Steps = 10, churn: Share = 1.0, early_exit: Exit = None):
    return _stopped(Ancestral(steps, churn=churn), early_exit)


@register("sampler", "ddim")
def _ddim(*, steps: Steps = 10, early_exit: Exit = None):
    return _stopped(Ancestral(steps, churn=0.0), early_exit)


@register("sampler", "sde")
def _sde(*, steps: Steps = 100, solver: Literal["euler", "shark"] = "euler", early_exit: Exit = None):
    return _stopped(SDE(steps, {"euler": diffrax.Euler, "shark": diffrax.ShARK}[solver]()), early_exit)
