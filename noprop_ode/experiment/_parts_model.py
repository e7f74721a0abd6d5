"""The built-in components of configurations: models and their parts. `register` adds others."""

import math
from typing import Annotated, Any, Literal

import diffrax
import jax.random as jr
import numpy as np

from .. import (
    ODE,
    AbstractLabelEmbedding,
    AbstractReadout,
    AbstractVectorField,
    AdjointODE,
    AllBlocks,
    Ancestral,
    Backprop,
    BlocksInTurn,
    CosineSchedule,
    CrossEntropy,
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
    Supervised,
    UniformTimes,
    UniformWeighting,
    cosine_grid,
    linear_grid,
    nn,
    noise_grid,
)
from ..data import Dataset
from ._context import Context
from ._registry import register
from ._values import Interval


def nothing() -> None:
    """Leaves a part to the default of the constructor that takes it."""


register("variant", "ct")(NoPropCT)
register("variant", "dt", num_blocks=10)(NoPropDT)
register("variant", "fm")(NoPropFM)
register("variant", "backprop", num_blocks=10)(Backprop)
register("variant", "supervised")(Supervised)
register("field", "conv", block=nn.ConvBlock)(nn.ConvField)
register("field", "mlp")(nn.MLPField)
register("schedule", "cosine")(CosineSchedule)
register("schedule", "linear")(LinearSchedule)
register("schedule", "sigmoid")(SigmoidSchedule)
register("schedule", "learned")(LearnedSchedule)
register("schedule", "cosine-grid", num_blocks=None)(cosine_grid)
register("schedule", "linear-grid", num_blocks=None)(linear_grid)
register("schedule", "noise-grid", num_blocks=None)(noise_grid)
register("embedding", "one-hot")(OneHot)
register("embedding", "learned", dim=20)(LearnedEmbedding)  # the paper's
register("embedding", "prototype")(PrototypeEmbedding)
register("readout", "default")(nothing)
register("readout", "linear")(LinearReadout)
register("readout", "posterior")(PosteriorReadout)
register("readout", "nearest")(NearestEmbedding)
register("end_state", "marginal")(MarginalEndState)
register("objective", "cross-entropy")(CrossEntropy)
register("objective", "squared-error")(SquaredError)
register("weighting", "default")(nothing)
register("weighting", "uniform")(UniformWeighting)
register("weighting", "elbo")(ELBOWeighting)
register("weighting", "min-snr")(MinSNRWeighting)
register("weighting", "sigmoid")(SigmoidWeighting)
register("times", "uniform")(UniformTimes)
register("times", "power")(PowerTimes)
register("plan", "all-blocks")(AllBlocks)
register("plan", "blocks-in-turn")(BlocksInTurn)
register("plan", "sampled-block")(SampledBlock)


@register("end_state", "sampled")
def _sampled(*, steps: Annotated[int, Interval("[1, 100000]")] = 4, churn: float = 0.0):
    return SampledEndState(Ancestral(steps, churn=churn))


@register("variant", "adjoint")
def _adjoint(
    field: AbstractVectorField,
    embedding: AbstractLabelEmbedding,
    readout: AbstractReadout | None,
    *,
    steps: Annotated[int, Interval("[1, 100000]")] = 20,
    adjoint: Literal["checkpoint", "backsolve"] = "checkpoint",
):
    methods = {"checkpoint": diffrax.RecursiveCheckpointAdjoint, "backsolve": diffrax.BacksolveAdjoint}
    sampler = ODE(diffrax.Heun(), steps=steps, adjoint=methods[adjoint]())
    return AdjointODE(field, embedding=embedding, readout=readout, sampler=sampler)


def _headed(context: Context, backbone: Any, settings: dict[str, Any], width: int):
    make = nn.BackboneBlock if context.discrete else nn.BackboneField
    backbone_key, head_key = jr.split(context.key)
    made = backbone(image_shape=context.data.image_shape, key=backbone_key, **settings)
    return make(made, context.num_classes, context.label_dim, width=width, key=head_key)


@register("field", "simple-cnn")
def _simple_cnn(context: Context, *, channels: int = 32, width: int = 256):
    return _headed(context, nn.SimpleCNN, {"width": channels}, width)


@register("field", "resnet")
def _resnet(context: Context, *, depth: int = 18, channels: int = 64, width: int = 256):
    return _headed(context, nn.ResNet, {"depth": depth, "width": channels}, width)


@register("field", "whitened-cnn")
def _whitened_cnn(
    context: Context, *, channels: tuple[int, ...] = (64, 256, 256), norm_groups: int = 1, width: int = 256
):
    shape = context.data.image_shape
    images = np.zeros((1, *shape), np.uint8) if context.train is None else _first_images(context.train)
    settings = {"whitening": nn.whitening(images), "widths": channels, "norm_groups": norm_groups}
    return _headed(context, nn.WhitenedCNN, settings, width)


def _first_images(train: Dataset, count: int = 5000, size: int = 2**26) -> Any:
    """The first images, for their patches; if streamed ones take more bytes than `size`, a sample that does not."""
    fit = count * math.prod(train.image_shape) <= size
    return (train if fit else train.sample(size)).images[:count]
