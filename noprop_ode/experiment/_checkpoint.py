"""Named arrays and a JSON header in one file, with a checksum over all of it. No pickle."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from ._errors import RunError


# The file: this line; the SHA-256 of everything after it, in hexadecimal, and a newline; the length of the header in
# 12 digits; the header; the arrays, one after another.
_MAGIC = b"noprop_ode checkpoint 1\n"


class CheckpointError(ValueError):
    """A file is not a checkpoint of ours, is damaged, or does not fit what it is loaded into."""


def save_arrays(path: Path, tree: PyTree[Any], metadata: dict[str, Any]) -> None:
    """Writes the arrays of a PyTree and a header, atomically: the file is either whole or not there.

    **Arguments:**

    - `path`: where to write.
    - `tree`: any PyTree; leaves that are not arrays are left out.
    - `metadata`: plain values for the header.

    **Raises:** `RunError` if the disk is full or the folder cannot be written; what was there before stays.
    """
    arrays = {_name(where): leaf for where, leaf in _leaves(tree) if eqx.is_array(leaf)}
    described = [[name, list(leaf.shape), str(leaf.dtype)] for name, leaf in arrays.items()]
    header = json.dumps({"metadata": metadata, "arrays": described}).encode()
    parts = [f"{len(header):012d}".encode(), header, *(_bytes(leaf) for leaf in arrays.values())]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)

    def write(file: Any) -> None:
        file.writelines([_MAGIC, digest.hexdigest().encode() + b"\n", *parts])

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Any], None]) -> None:
    """Writes a file beside its place, makes sure that it has reached the disk, and moves it there.

    **Arguments:**

    - `path`: where to write.
    - `write`: writes to an open binary file.

    **Raises:** `RunError` for any failure of the file system.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
    except OSError as error:
        raise RunError(
            f"Could not write {path}: {error.strerror}. What was there before is untouched; free some space or mend "
            "the permissions, then continue."
        ) from error


def read_header(path: Path) -> dict[str, Any]:
    """The metadata of a checkpoint.

    **Raises:** `FileNotFoundError`, or `CheckpointError` for a file that is not ours or is damaged.
    """
    return _read(path)[0]["metadata"]


def load_arrays(path: Path, like: PyTree[Any]) -> PyTree[Any]:
    """Reads arrays into a PyTree of the same structure.

    **Arguments:**

    - `path`: a file that `save_arrays` wrote.
    - `like`: a PyTree with arrays (or `jax.ShapeDtypeStruct`) of the expected names, shapes and dtypes.

    **Returns:** `like` with its arrays replaced.

    **Raises:** `FileNotFoundError`, or `CheckpointError` naming what is damaged or does not fit.
    """
    header, body = _read(path)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {_name(where): leaf for where, leaf in leaves if _is_array(leaf)}
    found = {name: (shape, dtype) for name, shape, dtype in header["arrays"]}
    if missing := sorted(set(expected) - set(found)):
        raise CheckpointError(f"{path} lacks {missing[:3]} of the model: it was saved from another one.")
    if extra := sorted(set(found) - set(expected)):
        raise CheckpointError(f"{path} holds {extra[:3]}, which the model lacks: it was saved from another one.")
    arrays, start = {}, 0
    for name, (shape, dtype) in found.items():
        leaf = expected[name]
        if [list(leaf.shape), str(leaf.dtype)] != [shape, dtype]:
            raise CheckpointError(
                f"{path} holds {name} as {dtype}{shape}, but the model expects {leaf.dtype}{list(leaf.shape)}."
            )
        arrays[name], start = _array(body, start, leaf)
    new = [arrays[_name(where)] if _is_array(leaf) else leaf for where, leaf in leaves]
    return jax.tree_util.tree_unflatten(structure, new)


def _leaves(tree: PyTree[Any]) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _name(where: Any) -> str:
    return jax.tree_util.keystr(where)


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _bytes(leaf: Any) -> bytes:
    return np.asarray(jr.key_data(leaf) if _is_key(leaf) else leaf).tobytes()


def _array(body: memoryview, start: int, leaf: Any) -> tuple[Any, int]:
    """The array that begins at a position, and where it ends; the leaf gives shape and dtype."""
    if _is_key(leaf):
        data = jr.key_data(jr.key(0))
        if str(leaf.dtype) != str(jr.key(0).dtype):
            raise CheckpointError(f"Random keys of type {leaf.dtype} cannot be read; set JAX's default to it.")
        shape, dtype = (*leaf.shape, *data.shape), data.dtype
    else:
        shape, dtype = leaf.shape, jax.numpy.dtype(leaf.dtype)
    end = start + int(np.prod(shape)) * dtype.itemsize
    if end > len(body):
        raise CheckpointError("A checkpoint ends before its arrays do.")
    array = jax.numpy.asarray(np.frombuffer(body[start:end], dtype).reshape(shape))
    return (jr.wrap_key_data(array) if _is_key(leaf) else array), end


def _read(path: Path) -> tuple[dict[str, Any], memoryview]:
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no checkpoint at {path}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    first, digest, rest = content[: len(_MAGIC)], len(_MAGIC), len(_MAGIC) + 65
    if bytes(first) != _MAGIC:
        raise CheckpointError(f"{path} is not a checkpoint that this version reads: it does not begin as one.")
    if bytes(content[digest:rest]) != hashlib.sha256(content[rest:]).hexdigest().encode() + b"\n":
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content.")
    size = int(bytes(content[rest : rest + 12]))
    start = rest + 12 + size
    return json.loads(bytes(content[rest + 12 : start])), content[start:]
