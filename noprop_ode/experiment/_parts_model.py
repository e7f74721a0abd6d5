"""What configurations know by name from the start: models and their parts. `register` adds to it."""

from typing import Literal

import diffrax
import jax.numpy as jnp

from .. import (
    ODE,
    AdjointODE,
    Ancestral,
    Backprop,
    Blocks,
    CosineSchedule,
    LearnedEmbedding,
    LearnedSchedule,
    LinearReadout,
    LinearSchedule,
    MarginalEndState,
    NearestEmbedding,
    NoPropCT,
    NoPropDT,
    NoPropFM,
    OneHot,
    PosteriorReadout,
    PrototypeEmbedding,
    SampledEndState,
    SigmoidSchedule,
    cosine_grid,
    linear_grid,
    nn,
    noise_grid,
    prototypes,
)
from ._context import Context
from ._registry import register


@register("variant", "ct")
def _ct(context: Context, *, states_per_image: int = 1, eta: float = 1.0, evidence_skip: bool = False):
    return NoPropCT(
        context.build_field(),
        times=context.build("times"),
        states_per_image=states_per_image,
        eta=eta,
        evidence_skip=evidence_skip,
        **context.gaussian_parts(),
    )


@register("variant", "dt")
def _dt(
    context: Context,
    *,
    num_blocks: int = 10,
    states_per_image: int = 1,
    eta: float = 1.0,
    evidence_skip: bool = False,
):
    return NoPropDT(
        Blocks(context.build_block, num_blocks, key=context.key),
        plan=context.build("plan"),
        states_per_image=states_per_image,
        eta=eta,
        evidence_skip=evidence_skip,
        **context.gaussian_parts(),
    )


@register("variant", "fm")
def _fm(context: Context, *, states_per_image: int = 1, sigma: float = 0.0, anchor: bool | None = None):
    return NoPropFM(
        context.build_field(),
        embedding=context.embedding,
        readout=context.build("readout"),
        times=context.build("times"),
        states_per_image=states_per_image,
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
