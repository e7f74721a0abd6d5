"""Networks: backbones, heads, the fields made of them, and their layers."""

from ._backbone import AbstractBackbone as AbstractBackbone, SimpleCNN as SimpleCNN
from ._conv import ConvEncoder as ConvEncoder, ConvLabelBranch as ConvLabelBranch
from ._field import (
    BackboneBlock as BackboneBlock,
    BackboneField as BackboneField,
    ConvBlock as ConvBlock,
    ConvField as ConvField,
)
from ._heads import (
    AbstractHead as AbstractHead,
    AbstractLabelBranch as AbstractLabelBranch,
    BlockHead as BlockHead,
    ContinuousHead as ContinuousHead,
)
from ._image import to_float as to_float
from ._layers import (
    Conv as Conv,
    GroupNorm as GroupNorm,
    LayerNorm as LayerNorm,
    Linear as Linear,
    dropout as dropout,
    max_pool as max_pool,
    time_embedding as time_embedding,
)
from ._mlp import MLPField as MLPField
from ._precision import LowPrecision as LowPrecision
from ._resnet import ResNet as ResNet
from ._whitened_cnn import WhitenedCNN as WhitenedCNN
from ._whitening import Whitening as Whitening, whitening as whitening
