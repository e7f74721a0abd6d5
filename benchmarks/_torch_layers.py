"""The convolutions of a training step alone, here and in PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.random as jr

import noprop_ode as no
from noprop_ode._parts import part_size
from noprop_ode._training.compiled import compiler_options

from ._torch_networks import convolution, tensor
from .convolution import Layer


def convolutions(
    torch: Any, of: Sequence[Layer], size: int, *, ours: str, forms: Mapping[str, str]
) -> dict[str, Callable[[], Any]]:
    """The convolutions of a step alone, forward and backward.

    **Arguments:** PyTorch, the layers, the batch size, the name of our side, and PyTorch's memory formats by the names
    of its sides.

    **Returns:** a function for each side.
    """
    part = part_size(size)
    arrays = [
        (
            jr.normal(jr.key(0), (size, each.side, each.side, ins)),
            jr.normal(jr.key(1), (size, each.side, each.side, outs)),
        )
        for each in of
        for _, _, ins, outs in [each.conv.weight.shape]
    ]

    def passes(conv: no.nn.Conv, xs: jax.Array, gs: jax.Array, first: bool) -> Any:
        ys, backward = jax.vjp(lambda conv, xs: jax.vmap(conv)(xs), conv, xs)
        return ys, backward(gs)[0] if first else backward(gs)

    jit: Any = eqx.filter_jit
    jitted = jit(passes, compiler_options=compiler_options())  # like training steps

    def here() -> Any:
        return [
            jitted(each.conv, xs[i : i + part], gs[i : i + part], each.first)
            for each, (xs, gs) in zip(of, arrays)
            for i in range(0, size, part)
        ]

    def theirs(form: Any) -> Callable[[], Any]:
        every = [
            (
                convolution(torch, each.conv).to(memory_format=form),
                *(tensor(torch, a).permute(0, 3, 1, 2).contiguous(memory_format=form) for a in both),
            )
            for each, both in zip(of, arrays)
        ]

        def call() -> Any:
            for each, (layer, xs, gs) in zip(of, every):
                layer.zero_grad()
                xs.grad = None
                layer(xs.requires_grad_(not each.first)).backward(gs)

        return call

    return {ours: here, **{name: theirs(getattr(torch, form)) for name, form in forms.items()}}
