"""Several processes that train one model together; every function here does next to nothing where there is one."""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from .errors import RunError


_T = TypeVar("_T")


def start_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_seconds: int = 20,
) -> None:
    """Makes this process one of several that train together; to be called first of all, before anything is computed.

    It is `jax.distributed.initialize`, which knows SLURM, Open MPI, Kubernetes and Cloud TPU by their environment, and
    needs no arguments there. Elsewhere the variables JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say
    what the arguments do not. A program that calls `jax.distributed.initialize` itself has no need of this.

    **Arguments:**

    - `coordinator`: `host:port` of process 0, where the others find it.
    - `num_processes`: how many there are.
    - `process_id`: which of them this is, from 0.
    - `heartbeat_seconds`: how long a process may be silent before the others take it for dead, and end.

    **Raises:** [`noprop_ode.RunError`][] if neither arguments nor environment say how to meet the others, or if they
    do not come.
    """
    num_processes = _from_environment("JAX_NUM_PROCESSES") if num_processes is None else num_processes
    process_id = _from_environment("JAX_PROCESS_ID") if process_id is None else process_id
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
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
    """A plain value of the first process, on all of them."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode() if is_first() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if is_first() else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).tobytes())


def arrays_of_first(tree: PyTree[Any]) -> PyTree[Any]:
    """The arrays of the first process, on all of them; `tree` has the same structure and shapes on each."""
    if jax.process_count() == 1:
        return tree
    return _each(tree, lambda a: jnp.asarray(multihost_utils.broadcast_one_to_all(a), dtype=a.dtype))


def agreed(*values: int) -> tuple[int, ...]:
    """The greatest of these over all processes, each on its own: one exchange of a few bytes."""
    if jax.process_count() == 1:
        return values
    found = multihost_utils.process_allgather(np.asarray(values, np.int32))
    return tuple(int(value) for value in np.max(found, axis=0))


def gathered(tree: PyTree[Any]) -> PyTree[Any]:
    """The same with whole arrays that this process holds itself. Every process must call it.

    **Arguments:** a model or a state that lies on the devices of several processes. **Returns:** one that does not.
    """
    return _each(tree, lambda a: a if a.is_fully_addressable else jnp.asarray(_whole(a)))


def _whole(array: jax.Array) -> np.ndarray:
    if array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def _each(tree: PyTree[Any], of_array: Callable[[jax.Array], Any]) -> PyTree[Any]:
    """Applies a function to every array; to the words of random keys, which no exchange takes as they are."""

    def of_leaf(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jr.wrap_key_data(of_array(jr.key_data(leaf)), impl=jr.key_impl(leaf))
        return of_array(leaf)

    return jax.tree.map(of_leaf, tree)
