"""The training step of CT, compared with the same step in PyTorch."""

import importlib
import itertools
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.random as jr
import numpy as np

import noprop_ode as no

from ._goals import Goal
from ._measure import alternating, compared
from ._models import BATCH, CIFAR10, MNIST, batch, ct, training
from ._record import ROOT, Row, machine
from ._skipped import Skipped
from ._text import milliseconds, ratio, table
from ._torch_layers import convolutions
from ._torch_networks import linear, network, tensor
from .convolution import layers


TITLE = "The same step in PyTorch"
_OURS = "our step"
_EIGEN, _ONEDNN = "Eigen", "oneDNN"
_FLAG = "--xla_cpu_experimental_onednn_custom_call=true"
_LAYOUTS = {"PyTorch, channels first": "contiguous_format", "PyTorch, channels last": "channels_last"}
_SHAPES = {"paper's, MNIST": MNIST, "paper's, CIFAR-10": CIFAR10, "fast, CIFAR-10": CIFAR10}


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per network, PyTorch memory layout, number of cores and library that computes our convolutions; each
    of the last two has a process of its own."""
    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise Skipped(f"PyTorch cannot be imported here ({error})") from None
    every = machine()["cores"]
    # Only on Linux can a process choose its cores.
    counts = [every, 1] if every > 1 and hasattr(os, "sched_setaffinity") else [every]
    for cores, library in itertools.product(counts, (_EIGEN, _ONEDNN) if _has_onednn() else (_EIGEN,)):
        command = [sys.executable, "-m", "benchmarks.torch_step", json.dumps({"quick": quick, "library": library})]
        limit = None if cores == every else _on_one_core
        # PyTorch's threads would otherwise keep busy-waiting during the turn of the other side.
        env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        if library == _ONEDNN:
            env["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}"
        how: Any = {"env": env, "preexec_fn": limit, "cwd": ROOT}
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **how).stdout
        yield from (json.loads(line) for line in output.splitlines() if line.startswith("{"))


def _has_onednn() -> bool:
    """Whether this version of XLA can leave convolutions to oneDNN; before 0.11 it takes the flag and does not."""
    return jax.__version_info__ >= (0, 11) and platform.machine() == "x86_64"


def _on_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _rows(quick: bool, library: str) -> Iterator[Row]:
    """The rows of one process, on all cores that it may use."""
    torch = importlib.import_module("torch")
    cores = machine()["cores"]
    torch.set_num_threads(cores)  # as many as XLA has
    rounds, size = (2, 4) if quick else (7, BATCH)
    for name, shape in _SHAPES.items():
        shape = (8, 8, shape[2]) if quick else shape
        data = batch(shape, size)
        model = ct(_field(name, shape))
        _check(torch, model, data[0][:4])
        sides: dict[str, Callable[[], Any]] = {_OURS: training(model, data)}
        sides |= {layout: _stepper(torch, model, data, getattr(torch, form)) for layout, form in _LAYOUTS.items()}
        samples = alternating(sides, rounds=rounds)
        own = [layer for layer in layers(quick) if quick or layer.network == name]
        alone = convolutions(torch, own, size, ours=_OURS, forms=_LAYOUTS)
        of_layers = alternating(alone, rounds=rounds)
        for layout in _LAYOUTS:
            each = compared(of_layers, _OURS, layout)
            yield {
                "network": name,
                "cores": cores,
                "library": library,
                "batch": size,
                **compared(samples, _OURS, layout),
                "convolutions": {key: each[key] for key in ("ratio", "cpu", "cpu_against")},
            }


def _field(name: str, shape: tuple[int, int, int]) -> no.AbstractVectorField:
    if name.startswith("paper's"):
        return no.nn.ConvField(shape, 10, 10, dropout=0.0, key=jr.key(0))
    widths = (64, 256, 256) if shape == CIFAR10 else (4, 8)
    backbone = no.nn.WhitenedCNN(shape, no.nn.whitening(batch(shape, 100)[0]), widths=widths, key=jr.key(0))
    return no.nn.BackboneField(backbone, 10, 10, key=jr.key(1))


def _pixels(xs: Any, form: Any) -> Any:
    return (xs.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=form)


def _check(torch: Any, model: no.NoPropCT, xs: jax.Array) -> None:
    """Refuses to compare networks that differ.

    **Raises:** `AssertionError`.
    """
    ts, zs = jr.uniform(jr.key(2), (len(xs),)), jr.normal(jr.key(3), (len(xs), 10))
    ours = jax.vmap(lambda t, z, x: model.field(t, z, model.field.encode(x)))(ts, zs, xs)
    pixels = _pixels(tensor(torch, xs), torch.contiguous_format)
    theirs = network(torch, model.field)(tensor(torch, ts), tensor(torch, zs), pixels)
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=1e-3, atol=1e-3)


def _stepper(torch: Any, model: no.NoPropCT, data: Any, form: Any) -> Callable[[], Any]:
    """A function that takes the next step: CT's loss with one-hot labels, cross-entropy and the cosine schedule."""
    functional = torch.nn.functional
    own = network(torch, model.field).to(memory_format=form)
    readout = linear(torch, model.readout)
    optimiser = torch.optim.AdamW([*own.parameters(), *readout.parameters()], lr=1e-3, weight_decay=1e-4)
    xs, ys = tensor(torch, data[0]), tensor(torch, data[1]).long()
    first, last = math.atan(math.exp(-3.5)), math.pi / 2 - math.atan(math.exp(-3.5))
    strata = torch.arange(len(ys)) / len(ys)

    def state(us: Any, t: Any) -> Any:
        angle = (first + (last - first) * t)[:, None]
        return angle.sin() * us + angle.cos() * torch.randn_like(us)

    def step() -> Any:
        us = functional.one_hot(ys, 10).float()
        t = (torch.rand(()) + strata) % 1
        logits = own(t, state(us, t), _pixels(xs, form))
        loss = functional.cross_entropy(logits, ys)
        loss = loss + functional.cross_entropy(readout(state(us, torch.ones_like(t))), ys)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def _best(rows: Sequence[Row]) -> Sequence[Row]:
    """Of each network, number of cores and library of ours, the row of the layout that suits PyTorch best."""
    found: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        key = row["network"], row["cores"], _library(row)
        found[key] = max(found.get(key, row), row, key=lambda r: r["ratio"][1])
    return list(found.values())


def _library(row: Row) -> str:
    return row.get("library", _EIGEN)


def _where(row: Row) -> str:
    cores = "1 core" if row["cores"] == 1 else f"{row['cores']} cores"
    return cores if _library(row) == _EIGEN else f"{cores}, {_library(row)}"


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    return "; ".join(
        f"{row['network']}{'' if _library(row) == _EIGEN else f', {_library(row)}'}: {row['ratio'][1]:.2f} times the "
        f"step of {row['against']} (wall clock {row['ratio_wall'][1]:.2f})"
        for row in _best(rows)
        if row["cores"] == rows[0]["cores"]  # all cores
    )


def goals(rows: Sequence[Row]) -> list[Goal]:
    """As fast as PyTorch, in the layout that suits it best."""
    held = {
        _EIGEN: "[convolutions](#convolutions) of XLA on CPU, most of the step",
        _ONEDNN: "gradients in the weights, for which XLA does not call oneDNN's own",
    }
    return [
        Goal(
            f"CT, {row['network']}, {_where(row)}, times PyTorch's step",
            row["ratio"][1],
            1.05,
            held_back=held[_library(row)],
        )
        for row in _best(rows)
    ]


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    heads = ["network", "cores", "our convolutions", "PyTorch's layout"]
    heads += ["ours / PyTorch", "wall-clock ratio", "ours, ms", "PyTorch, ms"]
    heads += ["its convolutions, ours / PyTorch", "ours, ms", "PyTorch, ms"]
    cells = [
        (
            row["network"],
            row["cores"],
            _library(row),
            row["against"].removeprefix("PyTorch, "),
            ratio(row["ratio"]),
            ratio(row["ratio_wall"]),
            milliseconds(row["cpu"]),
            milliseconds(row["cpu_against"]),
            ratio(row["convolutions"]["ratio"]),
            milliseconds(row["convolutions"]["cpu"]),
            milliseconds(row["convolutions"]["cpu_against"]),
        )
        for row in rows
    ]
    return f"""A CT step with AdamW at batch size {rows[0]["batch"]}, of the paper's network and of the one made for
speed, [`noprop_ode.nn.WhitenedCNN`][], rewritten in PyTorch for this benchmark: the same layers (the logits of both are
compared before anything is timed), the same loss, eager mode. It runs if PyTorch is installed next to this library.

{table(heads, cells)}

XLA compiles convolutions by Eigen, PyTorch by oneDNN. {_behind(rows)} Tried in their place, with
nothing gained in a whole step: Winograd's algorithm as sixteen separate matrix products, whose transformations take
back most of what the fewer multiplications save, and patches times a matrix, faster for the first layer alone and not
with its gradient.

From jaxlib 0.11 on (Python 3.12), `XLA_FLAGS={_FLAG}` leaves the convolutions of a training step on an x86 processor to
oneDNN too. {_gained(rows)}It is off by default, because XLA calls it experimental, and because a program that uses it
cannot be kept in JAX's compilation cache: it is compiled at every start, with a warning. Its gradients in the weights
are forward convolutions with a window as large as the image, not oneDNN's own."""


def _behind(rows: Sequence[Row]) -> str:
    """How much of the distance the convolutions are, on one core, where no thread waits for another."""
    found = [row for row in _best(rows) if row["cores"] == 1 and _library(row) == _EIGEN]
    parts = [
        f"{(row['cpu'] - row['cpu_against']) * 1e3:.0f} ms a step, its convolutions "
        f"{(row['convolutions']['cpu'] - row['convolutions']['cpu_against']) * 1e3:.0f} ms ({row['network']})"
        for row in found
    ]
    return f"On one core, ours is behind by {'; '.join(parts)}: the rest of a step is faster here." if found else ""


def _gained(rows: Sequence[Row]) -> str:
    """What oneDNN takes off a step."""
    own = {(row["network"], row["cores"], _library(row)): row["cpu"] for row in rows}
    parts = [
        f"{own[network, cores, _ONEDNN] / cpu:.2f} ({network}, {'1 core' if cores == 1 else f'{cores} cores'})"
        for (network, cores, library), cpu in own.items()
        if library == _EIGEN and (network, cores, _ONEDNN) in own
    ]
    return f"Our step then takes, of its time with Eigen, {', '.join(parts)}. " if parts else ""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """None: the table says it all."""
    return {}


if __name__ == "__main__":
    no.keep_freed_memory()
    for found in _rows(**json.loads(sys.argv[1])):
        print(json.dumps(found), flush=True)
