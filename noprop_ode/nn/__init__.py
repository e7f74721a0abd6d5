from ._conv import ConvEncoder as ConvEncoder, ConvField as ConvField
from ._layers import Conv as Conv, Linear as Linear, time_embedding as time_embedding
from ._mlp import MLPField as MLPField
