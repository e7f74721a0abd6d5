"""The networks of the benchmarks, written again in PyTorch with the same weights."""

import math
from typing import Any

import numpy as np

import noprop_ode as no


def tensor(torch: Any, array: Any) -> Any:
    """A copy of an array of JAX."""
    return torch.from_numpy(np.array(array))


def network(torch: Any, field: Any) -> Any:
    """A field for continuous time: either of the two backbones, and the paper's head."""
    encoder = field.backbone
    backbone = _whitened(torch, encoder) if isinstance(encoder, no.nn.WhitenedCNN) else _paper(torch, encoder)
    nn, head = torch.nn, field.head

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = backbone
            self.label, self.time = linear(torch, head.label), linear(torch, head.time)
            self.layers = nn.ModuleList(linear(torch, layer) for layer in head.layers)
            frequencies = torch.logspace(0, math.log10(32), head.time_size // 2)
            self.register_buffer("frequencies", frequencies)

        def forward(self, t: Any, z: Any, xs: Any) -> Any:
            relu, angles = nn.functional.relu, t[:, None] * self.frequencies
            time = relu(self.time(torch.cat([angles.sin(), angles.cos()], 1)))
            h = torch.cat([self.backbone(xs), relu(self.label(z)), time], 1)
            return self.layers[2](relu(self.layers[1](relu(self.layers[0](h)))))

    return Network()


def _paper(torch: Any, encoder: Any) -> Any:
    """The paper's image branch, of images in [0, 1] with channels first; its features pass through a ReLU."""
    nn = torch.nn

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(convolution(torch, conv) for conv in encoder.convs)
            self.linear = linear(torch, encoder.linear)
            # Our features are flattened with channels last, PyTorch's with channels first.
            height, width = (side // 2 // 2 for side in encoder.image_shape[:2])
            weight = self.linear.weight.detach().reshape(-1, height, width, 128).permute(0, 3, 1, 2)
            self.linear.weight = nn.Parameter(weight.reshape(weight.shape[0], -1).contiguous())

        def forward(self, xs: Any) -> Any:
            pool, relu = nn.functional.max_pool2d, nn.functional.relu
            h = pool(relu(self.convs[0](xs)), 2)
            h = pool(relu(self.convs[2](relu(self.convs[1](h)))), 2)
            return relu(self.linear(h.flatten(1)))

    return Backbone()


def _whitened(torch: Any, encoder: Any) -> Any:
    """The network made for speed, of images in [0, 1] with channels first."""
    nn, functional = torch.nn, torch.nn.functional

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", tensor(torch, encoder.whitening.weight).permute(3, 2, 0, 1).contiguous())
            self.register_buffer("bias", tensor(torch, encoder.whitening.bias))
            pairs = [pair for group in encoder.groups for pair in zip(group.convs, group.norms)]
            self.convs = nn.ModuleList(convolution(torch, conv) for conv, _ in pairs)
            self.norms = nn.ModuleList(_norm(torch, norm) for _, norm in pairs)

        def forward(self, xs: Any) -> Any:
            h = functional.conv2d(xs, self.weight, self.bias)
            h = functional.gelu(torch.cat([h, -h], 1), approximate="tanh")
            for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
                h = conv(h)
                h = functional.max_pool2d(h, 2) if i % 2 == 0 else h
                h = functional.gelu(norm(h), approximate="tanh")
            return h.amax((2, 3))

    return Backbone()


def convolution(torch: Any, conv: no.nn.Conv) -> Any:
    """A convolution, with padding that keeps the size."""
    size, _, ins, outs = conv.weight.shape
    layer = torch.nn.Conv2d(ins, outs, size, padding=size // 2)
    layer.weight = torch.nn.Parameter(tensor(torch, conv.weight).permute(3, 2, 0, 1).contiguous())
    layer.bias = torch.nn.Parameter(tensor(torch, conv.bias))
    return layer


def _norm(torch: Any, norm: no.nn.GroupNorm) -> Any:
    layer = torch.nn.GroupNorm(norm.groups, len(norm.scale), eps=1e-5)
    layer.weight = torch.nn.Parameter(tensor(torch, norm.scale))
    layer.bias = torch.nn.Parameter(tensor(torch, norm.offset))
    return layer


def linear(torch: Any, layer: Any) -> Any:
    """A linear layer, or a readout."""
    outs, ins = layer.weight.shape
    found = torch.nn.Linear(ins, outs)
    found.weight = torch.nn.Parameter(tensor(torch, layer.weight))
    found.bias = torch.nn.Parameter(tensor(torch, layer.bias))
    return found
