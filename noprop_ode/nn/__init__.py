from ._backbone import (
    AbstractBackbone as AbstractBackbone,
    BackboneBlock as BackboneBlock,
    BackboneField as BackboneField,
    SimpleCNN as SimpleCNN,
)
from ._conv import (
    ConvBlock as ConvBlock,
    ConvEncoder as ConvEncoder,
    ConvField as ConvField,
    ConvLabelBranch as ConvLabelBranch,
)
from ._heads import (
    AbstractLabelBranch as AbstractLabelBranch,
    BlockHead as BlockHead,
    ContinuousHead as ContinuousHead,
)
from ._layers import (
    Conv as Conv,
    GroupNorm as GroupNorm,
    LayerNorm as LayerNorm,
    Linear as Linear,
    time_embedding as time_embedding,
)
from ._mlp import MLPField as MLPField
from ._precision import LowPrecision as LowPrecision
from ._resnet import ResNet as ResNet
