"""Several processes that train one model together; with one process, every function here does next to nothing."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from .checkpoint import is_key
from .errors import RunError
from .files import plain_number


_T = TypeVar("_T")


def start_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    local_device_ids: Sequence[int] | None = None,
    heartbeat_seconds: int = 20,
) -> None:
    """Makes this process one of several that train together. Call it first, before anything is computed.

    It wraps `jax.distributed.initialize`, which recognises SLURM, Open MPI, Kubernetes and Cloud TPU by their
    environment, and needs no arguments there. Elsewhere, the variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID replace missing arguments. A program that calls `jax.distributed.initialize` itself does not need it.

    **Arguments:**

    - `coordinator`: `host:port` of process 0, where the others find it.
    - `num_processes`: number of processes.
    - `process_id`: which of them this is, from 0.
    - `local_device_ids`: which devices of the host belong to this process, from 0; the environment variable
        JAX_LOCAL_DEVICE_IDS can set it too. Needed if JAX's own choice does not fit: under SLURM and Open MPI it gives
        each process one GPU, the one with the number of the process on the host.
    - `heartbeat_seconds`: how long a process may be silent before the others consider it dead, and exit. It is also how
        long a finished process waits for the others: if the first works on alone for longer, to draw or to save, let
        all wait for it with `jax.experimental.multihost_utils.sync_global_devices("end")`.

    **Raises:** [`noprop_ode.RunError`][] if neither arguments nor environment say how to reach the others, or if they
    do not come.
    """
    num_processes = _from_environment("JAX_NUM_PROCESSES") if num_processes is None else num_processes
    process_id = _from_environment("JAX_PROCESS_ID") if process_id is None else process_id
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            local_device_ids,
            heartbeat_timeout_seconds=heartbeat_seconds,
            # A process that ended early, by an error, must not keep the others waiting for minutes.
            shutdown_timeout_seconds=heartbeat_seconds,
        )
    except (ValueError, RuntimeError) as error:
        raise RunError(
            f"This process could not join others: {error} Outside of SLURM and the like, set JAX_COORDINATOR_ADDRESS "
            "(host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID in the environment of each."
        ) from error


def _from_environment(name: str) -> int | None:
    text = os.environ.get(name)
    if text is not None and not (text.isascii() and text.isdigit()):
        raise RunError(f"{name}: expected a whole number; got {text!r}.")
    return None if text is None else int(text)


@contextlib.contextmanager
def others_there() -> Iterator[None]:
    """Raises a clear error if an exchange fails because another process has ended.

    **Raises:** [`noprop_ode.RunError`][].
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # Gloo's failures are of the latter kind
        if jax.process_count() == 1 or not any(word in str(error) for word in _EXCHANGES):
            raise
        raise RunError(
            f"Another process of this run has ended, or cannot be reached, and process {jax.process_index()} cannot go "
            "on without it. What it says itself, on its own standard error, is the reason; then start all of them "
            f"again and resume. ({str(error).splitlines()[0]})"
        ) from error


_EXCHANGES = ("Gloo", "NCCL", "oordination service", "UNAVAILABLE")


def is_first() -> bool:
    """Whether this is the process that writes, prints and logs."""
    return jax.process_index() == 0


def on_first(make: Callable[[], _T]) -> _T | None:
    """Calls a function on the first process alone, while the others wait.

    **Returns:** what it returned; `None` on the others.

    **Raises:** what it raised; on the others [`noprop_ode.RunError`][] with the same message.
    """
    if jax.process_count() == 1:
        return make()
    made, failure = None, None
    if is_first():
        try:
            made = make()
        except Exception as error:  # whatever it is: the others must not wait for ever
            failure = error
    told = tell(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    if told is not None:
        raise RunError(told)
    return made


def tell(value: Any) -> Any:
    """Broadcasts a plain value of the first process to all."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value, default=plain_number).encode() if is_first() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if is_first() else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).tobytes())


def arrays_of_first(tree: PyTree[Any]) -> PyTree[Any]:
    """Broadcasts the arrays of the first process to all; `tree` has the same structure and shapes on each."""
    if jax.process_count() == 1:
        return tree

    def of_first(array: jax.Array) -> jax.Array:
        # Of the others, only the shape matters, and their array may lie on devices of several processes.
        own = array if is_first() else np.zeros(array.shape, array.dtype)
        return jnp.asarray(multihost_utils.broadcast_one_to_all(own), dtype=array.dtype)

    return _each(tree, of_first)


def agreed(*values: int) -> tuple[int, ...]:
    """The maximum of each value over all processes: one exchange of a few bytes."""
    if jax.process_count() == 1:
        return values
    found = multihost_utils.process_allgather(np.asarray(values, np.int32))
    return tuple(int(value) for value in np.max(found, axis=0))


def placed(tree: PyTree[Any], shardings: PyTree[NamedSharding]) -> PyTree[Any]:
    """A PyTree of arrays on the devices; with several processes, which hold equal arrays, each puts the parts on its
    own devices."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def put(array: jax.Array, sharding: NamedSharding) -> jax.Array:
        if not array.is_fully_addressable:
            return jax.device_put(array, sharding)
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(lambda leaf, sharding: _on_words(leaf, lambda a: put(a, sharding)), tree, shardings)


def gathered(tree: _T) -> _T:
    """A PyTree with whole arrays that this process holds itself. Every process must call it.

    **Arguments:** a model or a state that lies on the devices of several processes. **Returns:** one that does not.
    """
    return _each(tree, lambda a: a if a.is_fully_addressable else jnp.asarray(_whole(a)))


def _whole(array: jax.Array) -> np.ndarray:
    if array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def _each(tree: PyTree[Any], of_array: Callable[[jax.Array], Any]) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: _on_words(leaf, of_array) if isinstance(leaf, jax.Array) else leaf, tree)


def _on_words(array: jax.Array, of_array: Callable[[jax.Array], Any]) -> Any:
    """Applies a function to an array, or to the words of a random key, which no exchange accepts as it is."""
    if is_key(array):
        return jr.wrap_key_data(of_array(jr.key_data(array)), impl=jr.key_impl(array))
    return of_array(array)
