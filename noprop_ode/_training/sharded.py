"""Checkpoints in parts, one per process, written by Orbax: for a state that no single process could hold."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from .._optional import need
from .checkpoint import array_name, check_names, is_key
from .errors import CheckpointError, RunError
from .files import plain_number


Checked = tuple[dict[str, Any], dict[str, int], dict[str, Any]]
# What Orbax and its storage raise for what they cannot read.
_FAILURES = (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError)


def save_parts(path: Path, tree: PyTree[Any], metadata: dict[str, Any]) -> None:
    """Writes the arrays of a PyTree to a folder, which appears once it is whole; every process makes the same call.

    Orbax does not notice a changed byte in an array, so the metadata hold a checksum of each array, which does not
    depend on how it is divided.

    **Arguments:**

    - `path`: the folder, which all processes see.
    - `tree`: any PyTree; of arrays that lie on several devices, each process writes what it holds.
    - `metadata`: plain values to save with it.

    **Raises:** [`noprop_ode.RunError`][] if it cannot be written.
    """
    ocp = _orbax()
    arrays = {
        array_name(where): _words(leaf)
        for where, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if eqx.is_array(leaf)
    }
    content = json.dumps(metadata, default=plain_number)
    sums = {name: int(value) for name, value in _sums(arrays).items()}
    header = {"content": content, "arrays": sums, "header": _digest(content, sums)}
    items = ocp.args.Composite(arrays=ocp.args.PyTreeSave(arrays), metadata=ocp.args.JsonSave(header))
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
            writer.save(path.absolute(), args=items, force=True)
    except (ValueError, OSError) as error:
        raise RunError(f"Could not write {path}: {_first_line(error)}. The checkpoints before it are there.") from error


def load_parts(path: Path, like: PyTree[Any], checked: Checked) -> tuple[PyTree[Any], dict[str, Any]]:
    """Reads arrays into a PyTree of the same structure, each onto the devices of its counterpart; every process makes
    the same call.

    **Arguments:**

    - `path`: a folder that `save_parts` wrote, on any number of devices and processes.
    - `like`: a PyTree with arrays of the expected names, shapes and dtypes, which lie where they are wanted.
    - `checked`: what `check_parts` found of both.

    **Returns:** `like` with its arrays replaced, and the metadata.

    **Raises:** [`noprop_ode.CheckpointError`][] for a folder that is damaged.
    """
    ocp, path = _orbax(), path.absolute()
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    content, sums, expected = checked
    restore = ocp.args.PyTreeRestore(expected, restore_args=ocp.checkpoint_utils.construct_restore_args(expected))
    with _told(path), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        arrays = reader.restore(path, args=ocp.args.Composite(arrays=restore)).arrays
    if changed := sorted(name for name, value in _sums(arrays).items() if int(value) != sums.get(name)):
        raise CheckpointError(f"{path} is damaged: the sum of {changed[:3]} does not match.")
    new = [_as(arrays[array_name(where)], leaf) if eqx.is_array(leaf) else leaf for where, leaf in leaves]
    return jax.tree_util.tree_unflatten(structure, new), content


def check_parts(path: Path, like: PyTree[Any]) -> Checked:
    """What this process can check of a checkpoint by itself: its metadata, and whether its arrays are those expected.

    **Arguments:** as for `load_parts`.

    **Returns:** the metadata, the checksums of the arrays, and what is expected of each array.

    **Raises:** [`noprop_ode.CheckpointError`][] for a folder that is damaged, or of another model.
    """
    ocp, leaves = _orbax(), jax.tree_util.tree_leaves_with_path(like)
    expected = {array_name(where): _wanted(leaf) for where, leaf in leaves if eqx.is_array(leaf)}
    content, sums = _read_header(path)
    with _told(path):
        held = ocp.PyTreeCheckpointHandler().metadata(path.absolute() / "arrays").tree
        found = [[name, str(array.dtype), list(array.shape)] for name, array in held.items()]
    check_names(path, found, expected)
    return content, sums, expected


def read_parts_header(path: Path) -> dict[str, Any]:
    """The metadata of a checkpoint in parts, read by this process alone.

    **Raises:** [`noprop_ode.CheckpointError`][] if there are none, or they are damaged.
    """
    return _read_header(path)[0]


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        found = json.loads((path / "metadata" / "metadata").read_bytes())
        content, sums = found["content"], found["arrays"]
        if found["header"] != _digest(content, sums):
            raise CheckpointError(f"{path} is damaged: the checksum of its metadata does not match.")
        return dict(json.loads(content)), dict(sums)
    except (OSError, TypeError, KeyError, RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint in parts, or is damaged: its metadata cannot be read ({type(error).__name__})."
        ) from error


def _digest(content: Any, sums: Any) -> str:
    return hashlib.sha256(json.dumps([content, sums]).encode()).hexdigest()


def _orbax() -> Any:
    return need("orbax.checkpoint", "A checkpoint in parts", "distributed")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}.") from error


@jax.jit
def _sums(arrays: dict[str, Array]) -> dict[str, Array]:
    """A checksum of each array: the sum of its words, each times its own odd number, so that any change is seen."""

    def of(array: Array) -> Array:
        width = 8 * min(array.dtype.itemsize, 4)
        bits = array if array.dtype == bool else jax.lax.bitcast_convert_type(array, jnp.dtype(f"uint{width}"))
        words = bits.astype(jnp.uint32)
        # A hash of the position, so that numbers that change places are seen, too.
        places = jnp.arange(words.size, dtype=jnp.uint32).reshape(words.shape) * jnp.uint32(2654435761)
        factors = (places ^ (places >> jnp.uint32(15))) * jnp.uint32(2246822519) | jnp.uint32(1)
        return jnp.sum(words * factors, dtype=jnp.uint32)

    return {name: of(array) for name, array in arrays.items()}


_key_words = jax.jit(jr.key_data)


def _words(leaf: Any) -> Any:
    return _key_words(leaf) if is_key(leaf) else leaf


def _wanted(leaf: Any) -> jax.ShapeDtypeStruct:
    words = _words(leaf)
    return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=words.sharding)


def _as(array: Any, leaf: Any) -> Any:
    return jr.wrap_key_data(array, impl=jr.key_impl(leaf)) if is_key(leaf) else array


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
