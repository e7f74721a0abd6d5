"""The training step of CT, compared with the same step in PyTorch."""

import importlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np

import noprop_ode as no

from ._goals import Goal
from ._measure import alternating, compared
from ._models import BATCH, SETS, Shape, batch, ct, training
from ._record import Row, machine
from ._skipped import Skipped
from ._text import milliseconds, ratio, table


TITLE = "The same step in PyTorch"
_OURS = "our step"


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per PyTorch memory layout and image shape."""
    # PyTorch's threads would otherwise keep busy-waiting during the turn of the other side.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise Skipped(f"PyTorch cannot be imported here ({error})") from None
    torch.set_num_threads(machine()["cores"])  # as many as XLA has
    rounds, size = (2, 4) if quick else (7, BATCH)
    for name, shape in ({"small": (8, 8, 1)} if quick else SETS).items():
        data = batch(shape, size)
        network = no.nn.ConvField(shape, 10, 10, dropout=0.0, key=jr.key(0))
        model = ct(network)
        _check(torch, model, shape, data[0][:4])
        layouts = {
            "PyTorch, channels first": torch.contiguous_format,
            "PyTorch, channels last": torch.channels_last,
        }
        sides = {_OURS: training(model, data)}
        sides |= {layout: _stepper(torch, model, shape, data, form) for layout, form in layouts.items()}
        samples = alternating(sides, rounds=rounds)
        for layout in layouts:
            yield {"set": name, "batch": size, **compared(samples, _OURS, layout)}


def _tensor(torch: Any, array: Any) -> Any:
    return torch.from_numpy(np.array(array))


def _network(torch: Any, field: Any, shape: Shape) -> Any:
    """The paper's network for continuous time, with our weights."""
    nn = torch.nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            head, encoder = field.head, field.backbone
            self.convs = nn.ModuleList(_conv(torch, conv) for conv in encoder.convs)
            self.linear = _linear(torch, encoder.linear)
            # Our features are flattened with channels last, PyTorch's with channels first.
            height, width = shape[0] // 2 // 2, shape[1] // 2 // 2
            weight = self.linear.weight.detach().reshape(-1, height, width, 128).permute(0, 3, 1, 2)
            self.linear.weight = nn.Parameter(weight.reshape(weight.shape[0], -1).contiguous())
            self.label, self.time = _linear(torch, head.label), _linear(torch, head.time)
            self.layers = nn.ModuleList(_linear(torch, layer) for layer in head.layers)
            frequencies = torch.logspace(0, math.log10(32), head.time_size // 2)
            self.register_buffer("frequencies", frequencies)

        def forward(self, t: Any, z: Any, xs: Any) -> Any:
            pool, relu = nn.functional.max_pool2d, nn.functional.relu
            h = pool(relu(self.convs[0](xs)), 2)
            h = pool(relu(self.convs[2](relu(self.convs[1](h)))), 2)
            features = relu(self.linear(h.flatten(1)))
            angles = t[:, None] * self.frequencies
            time = relu(self.time(torch.cat([angles.sin(), angles.cos()], 1)))
            h = torch.cat([features, relu(self.label(z)), time], 1)
            return self.layers[2](relu(self.layers[1](relu(self.layers[0](h)))))

    return Network()


def _conv(torch: Any, conv: no.nn.Conv) -> Any:
    size, _, ins, outs = conv.weight.shape
    layer = torch.nn.Conv2d(ins, outs, size, padding=size // 2)
    layer.weight = torch.nn.Parameter(_tensor(torch, conv.weight).permute(3, 2, 0, 1).contiguous())
    layer.bias = torch.nn.Parameter(_tensor(torch, conv.bias))
    return layer


def _linear(torch: Any, linear: eqx.nn.Linear) -> Any:
    layer = torch.nn.Linear(linear.in_features, linear.out_features)
    layer.weight = torch.nn.Parameter(_tensor(torch, linear.weight))
    layer.bias = torch.nn.Parameter(_tensor(torch, linear.bias))
    return layer


def _pixels(xs: Any, form: Any) -> Any:
    return (xs.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=form)


def _check(torch: Any, model: no.NoPropCT, shape: Shape, xs: jax.Array) -> None:
    """Refuses to compare networks that differ.

    **Raises:** `AssertionError`.
    """
    ts, zs = jr.uniform(jr.key(2), (len(xs),)), jr.normal(jr.key(3), (len(xs), 10))
    ours = jax.vmap(lambda t, z, x: model.field(t, z, model.field.encode(x)))(ts, zs, xs)
    network = _network(torch, model.field, shape)
    theirs = network(_tensor(torch, ts), _tensor(torch, zs), _pixels(_tensor(torch, xs), torch.contiguous_format))
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=1e-3, atol=1e-4)


def _stepper(torch: Any, model: no.NoPropCT, shape: Shape, data: Any, form: Any) -> Callable[[], Any]:
    """A function that takes the next step: CT's loss with one-hot labels, cross-entropy and the cosine schedule."""
    functional = torch.nn.functional
    network = _network(torch, model.field, shape).to(memory_format=form)
    readout = _readout(torch, model.readout)
    optimiser = torch.optim.AdamW([*network.parameters(), *readout.parameters()], lr=1e-3, weight_decay=1e-4)
    xs, ys = _tensor(torch, data[0]), _tensor(torch, data[1]).long()
    first, last = math.atan(math.exp(-3.5)), math.pi / 2 - math.atan(math.exp(-3.5))
    strata = torch.arange(len(ys)) / len(ys)

    def state(us: Any, t: Any) -> Any:
        angle = (first + (last - first) * t)[:, None]
        return angle.sin() * us + angle.cos() * torch.randn_like(us)

    def step() -> Any:
        us = functional.one_hot(ys, 10).float()
        t = (torch.rand(()) + strata) % 1
        logits = network(t, state(us, t), _pixels(xs, form))
        loss = functional.cross_entropy(logits, ys)
        loss = loss + functional.cross_entropy(readout(state(us, torch.ones_like(t))), ys)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def _readout(torch: Any, readout: Any) -> Any:
    layer = torch.nn.Linear(10, 10)
    layer.weight = torch.nn.Parameter(_tensor(torch, readout.weight))
    layer.bias = torch.nn.Parameter(_tensor(torch, readout.bias))
    return layer


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    best = {row["set"]: max((r for r in rows if r["set"] == row["set"]), key=lambda r: r["ratio"][1]) for row in rows}
    return "; ".join(
        f"{name}: {row['ratio'][1]:.2f} times the step of {row['against']} (wall clock {row['ratio_wall'][1]:.2f})"
        for name, row in best.items()
    )


def goals(rows: Sequence[Row]) -> list[Goal]:
    """As fast as PyTorch, in the layout that suits it best."""
    held = "[convolutions](#convolutions) of XLA on CPU, most of the step"
    best = {row["set"]: max((r for r in rows if r["set"] == row["set"]), key=lambda r: r["ratio"][1]) for row in rows}
    return [
        Goal(f"CT, {name}, times PyTorch's step", row["ratio"][1], 1.05, held_back=held) for name, row in best.items()
    ]


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    heads = ["images", "PyTorch's layout", "ours / PyTorch", "wall-clock ratio", "ours, ms", "PyTorch, ms"]
    cells = [
        (
            row["set"],
            row["against"].removeprefix("PyTorch, "),
            ratio(row["ratio"]),
            ratio(row["ratio_wall"]),
            milliseconds(row["cpu"]),
            milliseconds(row["cpu_against"]),
        )
        for row in rows
    ]
    return f"""A CT step with the paper's network and AdamW at batch size {rows[0]["batch"]}, rewritten in PyTorch in
the file of this benchmark: the same layers (the logits of both networks are compared before anything is timed), the
same loss, eager mode. It runs if PyTorch is installed next to this library.

{table(heads, cells)}

XLA compiles the convolutions by Eigen, PyTorch by oneDNN; [they](#convolutions) are most of a step. Winograd's
algorithm as separate matrix products, and patches times a matrix, were tried in their place, and a whole step gained
nothing: of the layers, only the first were faster."""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """None: the table says it all."""
    return {}
