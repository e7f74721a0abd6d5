"""The convolutions of the networks, compared with a matrix product of as many operations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import noprop_ode as no
from noprop_ode._parts import part_size
from noprop_ode._training.compiled import compiler_options

from ._figures import panels
from ._measure import alternating, compared, rounded
from ._models import BATCH, CIFAR10, MNIST, batch
from ._record import Row
from ._text import digits, ratio, table


TITLE = "Convolutions"
_PRODUCT = "matrix product"
FORWARD, INPUT, WEIGHT = "forward", "gradient in the input", "gradient in the weight"


class Layer(NamedTuple):
    """A convolution of a network, on images of this many pixels a side."""

    network: str
    conv: no.nn.Conv
    side: int
    first: bool  # its input is the image, which needs no gradient


def layers(quick: bool) -> Iterator[Layer]:
    """Those of the networks that are measured."""
    if quick:
        yield Layer("small", no.nn.Conv(2, 4, key=jr.key(0)), 6, first=False)
        return
    for name, shape in (("paper's, MNIST", MNIST), ("paper's, CIFAR-10", CIFAR10)):
        side = shape[0]
        convs = _convs(no.nn.ConvEncoder(shape, key=jr.key(0)))
        for i, (conv, side) in enumerate(zip(convs, (side, side // 2, side // 2))):
            yield Layer(name, conv, side, first=i == 0)
    whitening = no.nn.whitening(batch(CIFAR10, 100)[0])
    convs = _convs(no.nn.WhitenedCNN(CIFAR10, whitening, key=jr.key(0)))
    side = CIFAR10[0] - whitening.weight.shape[0] + 1
    for i, conv in enumerate(convs):  # two at each size; pooling comes after the first
        yield Layer("fast, CIFAR-10", conv, side, first=i == 0)  # the whitening before it is fixed
        side = side // 2 if i % 2 == 0 else side


def _convs(network: Any) -> list[no.nn.Conv]:
    leaves = jax.tree.leaves(network, is_leaf=lambda node: isinstance(node, no.nn.Conv))
    return [leaf for leaf in leaves if isinstance(leaf, no.nn.Conv)]


def _forward(conv: no.nn.Conv, xs: jax.Array) -> Any:
    return jax.vmap(conv)(xs)


def _in_input(conv: no.nn.Conv, xs: jax.Array, gs: jax.Array) -> Any:
    return jax.vjp(jax.vmap(conv), xs)[1](gs)


def _in_weight(conv: no.nn.Conv, xs: jax.Array, gs: jax.Array) -> Any:
    return jax.vjp(lambda conv: jax.vmap(conv)(xs), conv)[1](gs)


_multiply = jax.jit(jnp.matmul)


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per layer and pass."""
    size = 3 if quick else part_size(BATCH)
    for layer in layers(quick):
        kernel, _, ins, outs = layer.conv.weight.shape
        operations = 2 * size * layer.side**2 * kernel**2 * ins * outs
        sides = _sides(layer, size, operations)
        samples = alternating(sides, rounds=2 if quick else 7, least=0.01 if quick else 0.1)
        for case in list(sides)[:-1]:
            yield {
                "network": layer.network,
                "layer": f"{layer.side}x{layer.side}, {ins} to {outs}",
                "batch": size,
                "gflop": rounded(operations / 1e9),
                **compared(samples, case, _PRODUCT),
            }


def _sides(layer: Layer, size: int, operations: int) -> dict[str, Callable[[], Any]]:
    """The passes of a layer, and last a product of two square matrices that is as much work."""
    conv = layer.conv
    _, _, ins, outs = conv.weight.shape
    xs = jr.normal(jr.key(0), (size, layer.side, layer.side, ins), jnp.float32)
    gs = jr.normal(jr.key(1), (size, layer.side, layer.side, outs), jnp.float32)
    square = jnp.ones((round((operations / 2) ** (1 / 3)),) * 2, jnp.float32)
    # Compiled like training steps.
    jit: Any = eqx.filter_jit
    forward, in_input, in_weight = (
        jit(function, compiler_options=compiler_options()) for function in (_forward, _in_input, _in_weight)
    )
    return {
        FORWARD: lambda: forward(conv, xs),
        **({} if layer.first else {INPUT: lambda: in_input(conv, xs, gs)}),
        WEIGHT: lambda: in_weight(conv, xs, gs),
        _PRODUCT: lambda: _multiply(square, square),
    }


def _per_core(row: Row, what: str = "cpu") -> float:
    return row["gflop"] / row[what]


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    found = []
    for name in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == name]
        taken, least = (sum(row[what] for row in own) for what in ("cpu", "cpu_against"))
        found.append(f"{name} {taken / least:.2f}")
    best = max(_per_core(row, "cpu_against") for row in rows)
    return (
        f"time of all passes of a step / matrix products of as many operations: {'; '.join(found)}; the fastest "
        f"product does {digits(best)} GFLOP/s per core"
    )


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    heads = [
        "network",
        "layer",
        "pass",
        "GFLOP",
        "GFLOP/s per core",
        "matrix product",
        "time / matrix product",
        "wall clock",
    ]
    cells = [
        (
            row["network"],
            row["layer"],
            row["case"],
            digits(row["gflop"]),
            digits(_per_core(row)),
            digits(_per_core(row, "cpu_against")),
            ratio(row["ratio"]),
            ratio(row["ratio_wall"]),
        )
        for row in rows
    ]
    return f"""Each convolution of the paper's networks and of the fast one, [`noprop_ode.nn.WhitenedCNN`][], in
float32, on {rows[0]["batch"]} images, the part of a batch of {BATCH} that a training step on a CPU processes at a time:
the forward pass, and the two halves of the gradient. The first layers need no gradient in their input. Each alternates
with a product of two square matrices with as many multiplications, on all cores: what the processor does with as much
work of the simplest kind. Small matrices are slower than large ones.
If the wall-clock ratio exceeds the ratio of CPU times, cores are idle. Operations are those of a plain convolution, two
per multiplication; an algorithm that saves some can be faster than the product.

{table(heads, cells)}

![The speed of each convolution, and of the matrix product](_static/performance/convolution.svg)"""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """A bar per layer and pass, a mark for the product."""
    figure, (axis,) = panels(height=4.6)
    names = list(dict.fromkeys((row["network"], row["layer"]) for row in rows))
    for shift, case in zip((-0.27, 0.0, 0.27), (FORWARD, INPUT, WEIGHT)):
        own = [row for row in rows if row["case"] == case]
        where = [names.index((row["network"], row["layer"])) + shift for row in own]
        axis.barh(where, [_per_core(row) for row in own], height=0.25, label=case)
    products = [[_per_core(r, "cpu_against") for r in rows if (r["network"], r["layer"]) == name] for name in names]
    best = [max(found) for found in products]
    axis.plot(best, range(len(names)), "k|", markersize=14, label=_PRODUCT)
    axis.set_yticks(range(len(names)), [f"{network}: {layer}" for network, layer in names], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("GFLOP/s per core")
    axis.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return {"convolution": figure}
