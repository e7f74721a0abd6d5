"""What configurations know by name from the start; `register` adds to it."""

from typing import Any, Literal

import diffrax
import jax.numpy as jnp
import optax

from .. import (
    ODE,
    SDE,
    AdjointODE,
    AllBlocks,
    Ancestral,
    Backprop,
    Blocks,
    CosineSchedule,
    CrossEntropy,
    EarlyExit,
    ELBOWeighting,
    LearnedEmbedding,
    LearnedSchedule,
    LinearReadout,
    LinearSchedule,
    MarginalEndState,
    MinSNRWeighting,
    NearestEmbedding,
    NoPropCT,
    NoPropDT,
    NoPropFM,
    OneHot,
    PosteriorReadout,
    PowerTimes,
    PrototypeEmbedding,
    SampledBlock,
    SampledEndState,
    SigmoidSchedule,
    SigmoidWeighting,
    SquaredError,
    UniformTimes,
    UniformWeighting,
    cosine_grid,
    linear_grid,
    nn,
    noise_grid,
    prototypes,
)
from ..data import crop_and_flip
from ._context import Context
from ._registry import register


@register("variant", "ct")
def _ct(context: Context, *, eta: float = 1.0, evidence_skip: bool = False):
    parts = context.gaussian_parts()
    return NoPropCT(context.build_field(), times=context.build("times"), eta=eta, evidence_skip=evidence_skip, **parts)


@register("variant", "dt")
def _dt(context: Context, *, num_blocks: int = 10, eta: float = 1.0, evidence_skip: bool = False):
    blocks = Blocks(context.build_block, num_blocks, key=context.key)
    plan = context.build("plan")
    return NoPropDT(blocks, plan=plan, eta=eta, evidence_skip=evidence_skip, **context.gaussian_parts())


@register("variant", "fm")
def _fm(context: Context, *, sigma: float = 0.0, anchor: bool | None = None):
    return NoPropFM(
        context.build_field(),
        embedding=context.embedding,
        readout=context.build("readout"),
        times=context.build("times"),
        sigma=sigma,
        anchor=anchor,
    )


@register("variant", "backprop")
def _backprop(context: Context, *, num_blocks: int = 10):
    blocks = Blocks(context.build_block, num_blocks, key=context.key)
    return Backprop(blocks, embedding=context.embedding, readout=context.build("readout"), key=context.key)


@register("variant", "adjoint")
def _adjoint(context: Context, *, steps: int = 20, adjoint: Literal["checkpoint", "backsolve"] = "checkpoint"):
    methods = {"checkpoint": diffrax.RecursiveCheckpointAdjoint, "backsolve": diffrax.BacksolveAdjoint}
    sampler = ODE(diffrax.Heun(), steps=steps, adjoint=methods[adjoint]())
    parts = {"embedding": context.embedding, "readout": context.build("readout"), "sampler": sampler}
    return AdjointODE(context.build_field(), key=context.key, **parts)


@register("field", "conv")
def _conv(context: Context, *, width: int = 256, dropout: float = 0.2):
    label = None
    if context.label_shape is not None:
        label = nn.ConvLabelBranch(context.label_shape, size=width, key=context.fold("label"))
    make = nn.ConvBlock if context.discrete else nn.ConvField
    mean, std, sizes = context.data.mean, context.data.std, (context.num_classes, context.label_dim)
    return make(
        context.data.image_shape,
        *sizes,
        width=width,
        dropout=dropout,
        mean=mean,
        std=std,
        label=label,
        key=context.key,
    )


@register("field", "mlp")
def _mlp(context: Context, *, width: int = 256):
    return nn.MLPField(context.data.image_shape, context.num_classes, context.label_dim, width=width, key=context.key)


@register("field", "simple-cnn")
def _simple_cnn(context: Context, *, channels: int = 32, width: int = 256):
    return _headed(context, nn.SimpleCNN(context.data.image_shape, width=channels, key=context.fold("backbone")), width)


@register("field", "resnet")
def _resnet(context: Context, *, depth: int = 18, channels: int = 64, width: int = 256):
    backbone = nn.ResNet(depth, context.data.image_shape, width=channels, key=context.fold("backbone"))
    return _headed(context, backbone, width)


def _headed(context: Context, backbone: nn.AbstractBackbone, width: int):
    make = nn.BackboneBlock if context.discrete else nn.BackboneField
    return make(backbone, context.num_classes, context.label_dim, width=width, key=context.key)


@register("schedule", "cosine")
def _cosine(context: Context, *, log_snr_0: float = -7.0, log_snr_1: float = 7.0):
    return CosineSchedule(log_snr_0, log_snr_1)


@register("schedule", "linear")
def _linear(context: Context, *, log_snr_0: float = -7.0, log_snr_1: float = 7.0):
    return LinearSchedule(log_snr_0, log_snr_1)


@register("schedule", "sigmoid")
def _sigmoid(
    context: Context,
    *,
    slope: float = 6.0,
    log_snr_0: float = -7.0,
    log_snr_1: float = 7.0,
    trainable: bool = False,
):
    return SigmoidSchedule(slope, log_snr_0, log_snr_1, trainable=trainable)


@register("schedule", "learned")
def _learned(
    context: Context, *, log_snr_0: float = -7.0, log_snr_1: float = 7.0, width: int = 64, trainable: bool = True
):
    return LearnedSchedule(log_snr_0, log_snr_1, width=width, trainable=trainable, key=context.key)


@register("schedule", "cosine-grid")
def _cosine_grid(context: Context, *, num_blocks: int | None = None):
    return cosine_grid(num_blocks or context.num_blocks)


@register("schedule", "linear-grid")
def _linear_grid(context: Context, *, num_blocks: int | None = None):
    return linear_grid(num_blocks or context.num_blocks)


@register("schedule", "noise-grid")
def _noise_grid(context: Context, *, num_blocks: int | None = None, first: float = 0.9, last: float = 0.01):
    return noise_grid(num_blocks or context.num_blocks, first=first, last=last)


@register("embedding", "one-hot")
def _one_hot(context: Context):
    return OneHot(context.num_classes)


@register("embedding", "learned")
def _learned_embedding(context: Context, *, dim: int = 20, trainable: bool = True):
    return LearnedEmbedding(context.num_classes, dim, trainable=trainable, key=context.key)


@register("embedding", "prototype")
def _prototype(context: Context, *, trainable: bool = True):
    if context.train is None:  # the shapes of a saved model, whose values are about to be read
        images = jnp.zeros((context.num_classes, *context.data.image_shape), jnp.float32)
    else:
        images = prototypes(context.train.images, context.train.labels, context.num_classes)
    return PrototypeEmbedding(images, trainable=trainable)


@register("readout", "default")
def _default_readout(context: Context):
    return None


@register("readout", "linear")
def _linear_readout(context: Context):
    return LinearReadout(context.label_dim, context.num_classes, key=context.key)


@register("readout", "posterior")
def _posterior_readout(context: Context, *, scale: float = 0.25):
    return PosteriorReadout(context.label_dim, context.num_classes, scale=scale, key=context.key)


@register("readout", "nearest")
def _nearest(context: Context, *, scale: float = 0.25):
    return NearestEmbedding(scale)


@register("end_state", "marginal")
def _marginal(context: Context):
    return MarginalEndState()


@register("end_state", "sampled")
def _sampled(context: Context, *, steps: int = 4, churn: float = 0.0):
    return SampledEndState(Ancestral(steps, churn=churn))


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
