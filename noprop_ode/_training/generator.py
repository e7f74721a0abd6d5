"""Training as a generator over steps."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._check import as_native, check_alive, check_images, check_labels
from .._model import AbstractModel
from .._sizes import told_here
from .ahead import Ahead
from .by_block import goes_by_block, step_by_block, takes_all_blocks
from .compiled import donating
from .copies import taken_over
from .parallel import Parallel, lies_on_several
from .processes import agreed
from .step import Metrics, TrainState, finite, train_step


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient became NaN or infinite: at which `step`, with which `metrics`, and the `state` with the
    last good weights, from which training can continue. If the update was not finite, there are no good weights."""

    def __init__(self, step: int, metrics: Metrics, state: TrainState, *, update: bool = False):
        # In a call of several steps, those after the bad one say nothing: they change no weights, and may be finite.
        where = int(jnp.argmax(jnp.ravel(metrics.step) == step))
        terms = ", ".join(f"{name}={jnp.ravel(getattr(metrics, name))[where]:g}" for name in _TERMS)
        kept = (
            "The weights before that step are kept in `.state`. A lower learning rate, gradient clipping, or a "
            "weighting with a smaller range usually helps."
            if finite(state.model)
            else "The weights were not finite when training began."
            if step == 1
            else f"The weights were no longer finite before it: {_LOOK.format('an earlier step was not, though its')}"
        )
        text = f"The loss or its gradient stopped being finite at step {step} ({terms}). {kept}"
        if update:
            text = (
                f"Weights are not finite after step {step} ({terms}): {_LOOK.format('that step was not, though its')}"
            )
        super().__init__(text)
        self.step = step
        self.metrics = metrics
        self.state = state


_Data: TypeAlias = tuple[Array, Array, Parallel | None]
_LOOK = "the update of {} gradient was. Look at the learning rate of that step, and at what the optimiser divides by."
_TERMS = ("loss", "denoising", "readout", "prior", "gradient_norm")


# The old state is donated: its buffers become those of the new one.
@donating
def _jitted_step(data: _Data, state: TrainState) -> tuple[TrainState, Metrics]:
    xs, ys, parallel = data
    state, metrics = train_step(state, xs, ys)
    return state if parallel is None else parallel.constrain(state), metrics


@donating
def _jitted_steps(data: _Data, state: TrainState) -> tuple[TrainState, Metrics]:
    xs, ys, parallel = data
    arrays, static = eqx.partition(state, eqx.is_array)

    def step(arrays: PyTree[Any], batch: tuple[Array, Array]) -> tuple[PyTree[Any], Metrics]:
        state, metrics = train_step(eqx.combine(arrays, static), *batch)
        state = state if parallel is None else parallel.constrain(state)
        return eqx.filter(state, eqx.is_array), metrics

    arrays, metrics = jax.lax.scan(step, arrays, (xs, ys))
    return eqx.combine(arrays, static), metrics


def train(
    state: TrainState,
    batches: Iterable[tuple[Any, Any]],
    *,
    check_every: int = 1,
    steps_per_call: int = 1,
    parallel: Parallel | None = None,
) -> Iterator[tuple[TrainState, Metrics]]:
    """Trains on each batch in turn; logging, evaluation and saving are left to the caller.

    !!! example

        ```python
        for state, metrics in noprop_ode.train(state, batches):
            print(int(metrics.step), float(metrics.loss))
        ```

    The step is compiled once per batch shape. A yielded state is consumed by the next step: use
    [`noprop_ode.copied`][] to keep it. The state passed in is copied, and stays valid.

    **Arguments:**

    - `state`: where to start, from [`noprop_ode.TrainState.create`][] or a state yielded earlier.
    - `batches`: pairs of images `[batch, height, width, channels]` and labels `[batch]`, NumPy or JAX.
    - `check_every`: check that training is finite every this many steps (and after the last). A check waits for the
        device. A bad step changes no weights in any case, nor does any step after it, except that blocks taken one
        after another keep the update that they had before one of them failed; above 1, the metrics of the error are
        those of the last batch checked.
    - `steps_per_call`: take this many steps per call on the device, which saves the launch of each on GPU and TPU; on
        CPU leave it at 1, because convolutions inside a compiled loop are slow. The metrics are then those of all
        steps, shape `[steps]`; batches left over at the end go one by one, and `check_every` counts calls. Blocks on
        several devices always take one step per call.
    - `parallel`: divide batches, and blocks, among devices. The states yielded are arrays on all of them. With several
        processes ([`noprop_ode.start_processes`][]), each gives its own share of every batch, with as many batches of
        the same sizes as the others, which otherwise wait for it; `noprop_ode.data.batches` with
        `share=parallel.share(batch_size)` does this.

    **Yields:** the state after each step, and the metrics of the step.

    **Raises:** `ValueError` or `TypeError` for invalid images or labels, and [`noprop_ode.NonFiniteLossError`][], with
    the last good state, if the loss or its gradient is not finite; at the end also if the weights are not, because of
    an infinite update.
    """
    # Not `yield from`: the frame would hold the state that was passed in for as long as the training lasts.
    how: dict[str, Any] = {"check_every": check_every, "steps_per_call": steps_per_call, "parallel": parallel}
    return steps(state, batches, **how, ahead=False, own=False)


def steps(
    state: TrainState,
    batches: Iterable[tuple[Any, Any]],
    *,
    check_every: int = 1,
    steps_per_call: int = 1,
    parallel: Parallel | None = None,
    ahead: bool = True,
    own: bool = True,
) -> Iterator[tuple[TrainState, Metrics]]:
    """Like `train`, but batches are made ahead, while the device computes the call before: they must not depend on what
    that yields. And the state is consumed by the first step too, because nobody else has its arrays."""
    if check_every < 1 or steps_per_call < 1:
        raise ValueError(f"check_every and steps_per_call must be at least 1; got {check_every} and {steps_per_call}.")
    check_alive(state)
    # A moving average may start with the very buffers of the model; donation needs separate ones.
    if parallel is not None:
        state = parallel.place(state)
    elif not own:
        given = [state]
        del state  # else it would be held for as long as the copy is made
        state = taken_over(given)
    if parallel is not None and parallel.block > 1:
        steps_per_call = 1
    began_finite = not any(agreed(not finite(state.model)))
    metrics = None
    ready = Ahead(_ready(_grouped(batches, steps_per_call), state.model.embedding.num_classes, parallel))
    count = 0
    for several, xs, ys in ready:  # not by `enumerate`, which would hold a batch for a call longer
        count += 1
        with told_here():
            if several:
                state, metrics = _jitted_steps((xs, ys, parallel), state)
            elif goes_by_block(state):
                state, metrics = step_by_block((xs, ys), state, parallel)
            else:
                state, metrics = _jitted_step((xs, ys, parallel), state)
        del xs, ys  # the device keeps them as long as it needs them
        if ahead:
            ready.make()
        if count % check_every == 0:
            _raise_if_ill(state, metrics)
        yield state, metrics
    if metrics is not None:
        _raise_if_ill(state, metrics)
        if began_finite and any(agreed(not finite(state.model))):
            raise NonFiniteLossError(int(state.step), metrics, state, update=True)


def default_steps_per_call(model: AbstractModel) -> int:
    """Several steps per call save their launch on GPU and TPU. On CPU a convolution in a compiled loop is slow; and in
    one, blocks would be compiled together and take the memory of all, while a call for each takes that of one."""
    return 1 if jax.default_backend() == "cpu" or takes_all_blocks(model) else 16


def _ready(
    groups: Iterable[list[tuple[Any, Any]]], num_classes: int, parallel: Parallel | None
) -> Iterator[tuple[bool, Array, Array]]:
    """The batches of each call, checked and on the devices; first, whether they are several, and stacked."""
    for group in groups:
        found = [_on_devices(group, num_classes, parallel)]
        group.clear()  # generators that wait would hold the batches for a call longer
        yield found.pop()


def _on_devices(group: list[tuple[Any, Any]], num_classes: int, parallel: Parallel | None) -> tuple[bool, Array, Array]:
    for xs, ys in group:
        if not lies_on_several(xs):  # those were checked share by share
            check_images(xs)
            check_labels(ys, num_classes, len(xs))
        if parallel is not None:
            parallel.check_batch(parallel.whole(xs))
    if len(group) == 1:
        return False, *_placed(_array(group[0][0]), _int32(group[0][1]), parallel)
    xs, ys = _stacked([_array(xs) for xs, _ in group]), _stacked([_int32(ys) for _, ys in group])
    return True, *_placed(xs, ys, parallel, steps=True)


def _int32(ys: Any) -> Any:
    # Once, here: in uint8 there is no 256 to compare a label with, and another dtype would recompile the step.
    return _array(ys).astype(np.int32)


def _array(values: Any) -> Any:
    return values if isinstance(values, jax.Array) else as_native(np.asarray(values))


def _placed(xs: Any, ys: Any, parallel: Parallel | None, *, steps: bool = False) -> tuple[Array, Array]:
    """Puts a batch on the devices, none of which needs the whole of a batch that is divided."""
    if parallel is None:
        return jnp.asarray(xs), jnp.asarray(ys)
    return parallel.place_batch(xs, steps=steps), parallel.place_batch(ys, steps=steps)


def _stacked(arrays: list[Any]) -> Any:
    """Stacks arrays, on the host if that is where they are."""
    return np.stack(arrays) if all(isinstance(array, np.ndarray) for array in arrays) else jnp.stack(arrays)


def _grouped(batches: Iterable[tuple[Any, Any]], size: int) -> Iterator[list[tuple[Any, Any]]]:
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        if len(group) == size and len({np.shape(part) for batch in group for part in batch}) <= 2:
            yield group
        else:
            yield from ([batch] for batch in group)


def _raise_if_ill(state: TrainState, metrics: Metrics) -> None:
    if not bool(state.healthy):
        well = dataclasses.replace(state, healthy=jnp.ones_like(state.healthy))
        raise NonFiniteLossError(int(state.step) + 1, metrics, well)
