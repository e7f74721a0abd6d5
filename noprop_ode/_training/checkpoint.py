"""Arrays in safetensors files, with our own header and checksums over everything. No pickle."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from .._check import check_alive
from .._optional import need
from .errors import CheckpointError
from .files import identity, plain_number, reason, shown, write_file


_FORMAT = "noprop_ode checkpoint 2"
_CHUNK = 2**20

_T = TypeVar("_T")
Described = list[list[Any]]  # name, dtype and shape of each array, by name


def save_arrays(path: str | os.PathLike[str], tree: PyTree[Any], metadata: dict[str, Any] | None = None) -> None:
    """Writes the arrays of a PyTree to a safetensors file, atomically: the file is either whole or not there.

    Only arrays are saved: other settings, such as a schedule's ends, the objective, eta or a dropout rate, are those of
    the PyTree that the arrays are loaded into. Any tool that reads safetensors reads it; arrays are named by their path
    in the PyTree, such as `.field.head.layers[0].weight`. Random keys are stored as the words they consist of. The
    file's metadata hold `content`, the metadata given here as JSON, and SHA-256 checksums of the arrays and of the
    header.

    **Arguments:**

    - `path`: where to write, usually ending in `.safetensors`.
    - `tree`: any PyTree, a model or a [`noprop_ode.TrainState`][]; leaves that are not arrays are left out. Arrays that
        lie on several processes must be [`noprop_ode.gathered`][] first.
    - `metadata`: plain values to save with it.

    **Raises:** [`noprop_ode.RunError`][] if the disk is full or the folder cannot be written, and `TypeError` for
    arrays of a dtype that could not be read again, such as float8; a file that was there before is left intact.
    """
    check_alive(tree)
    numpy_format = need("safetensors.numpy", "Saving arrays")
    arrays = {
        array_name(where): _stored(leaf)
        for where, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if eqx.is_array(leaf)
    }
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES.values():
            raise TypeError(
                f"Arrays of {array.dtype.name} cannot be read again from a file of safetensors; got one at {name}. "
                "Convert it, for instance to bfloat16 or uint8, before it is saved."
            )
    content = json.dumps({} if metadata is None else metadata, default=plain_number)
    # The checksum of the arrays covers their bytes as in the file, so it is taken from a first serialisation.
    plain = numpy_format.save(arrays)
    data = hashlib.sha256(memoryview(plain)[_data_start(plain) :]).hexdigest()
    del plain  # the state is not in memory a third time
    described = sorted([name, array.dtype.name, list(array.shape)] for name, array in arrays.items())
    header = {"format": _FORMAT, "content": content, "arrays": data, "header": _header_sum(content, data, described)}
    whole = numpy_format.save(arrays, header)
    write_file(path, whole)


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of a checkpoint. The arrays are not read, and so not checked.

    **Arguments:** `path`, of a file that [`noprop_ode.save_arrays`][] wrote. **Returns:** its metadata.

    **Raises:** `FileNotFoundError`, or [`noprop_ode.CheckpointError`][] for a file that is no checkpoint or is damaged.
    """
    with _Reader(Path(path)) as file:
        return file.content


def load_arrays(path: str | os.PathLike[str], like: _T) -> _T:
    """Reads arrays into a PyTree of the same structure.

    **Arguments:**

    - `path`: a file that [`noprop_ode.save_arrays`][] wrote.
    - `like`: a PyTree with arrays (or `jax.ShapeDtypeStruct`) of the expected names, shapes and dtypes, such as
        `equinox.filter_eval_shape` of the function that builds the model. Its settings are kept and not compared:
        build it exactly like the saved one.

    **Returns:** `like` with its arrays replaced.

    **Raises:** `FileNotFoundError`, or [`noprop_ode.CheckpointError`][] naming what is damaged or does not fit.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {array_name(where): _stored_like(leaf) for where, leaf in leaves if _is_array(leaf)}
    with _Reader(Path(path)) as file:
        # Before any array is read, so that only what the model needs is allocated, whatever the file claims.
        check_names(path, file.described, expected)
        file.check_data()
        arrays = {name: file.array(name) for name in expected}
    new = [_restored(arrays[array_name(where)], leaf) if _is_array(leaf) else leaf for where, leaf in leaves]
    return jax.tree_util.tree_unflatten(structure, new)


class _Reader:
    """An open checkpoint, whose header has been checked."""

    def __init__(self, path: Path):
        self.path, self._seen = path, identity(path)
        safetensors = need("safetensors", "Reading a checkpoint")
        try:
            if path.exists() and not path.is_file():
                raise CheckpointError(f"{path} is not a file.")
            open(path, "rb").close()  # of a file that it cannot open, safetensors says that it is not there
            self._file = safetensors.safe_open(path, "numpy")
        except FileNotFoundError as error:
            raise FileNotFoundError(f"There is no checkpoint at {path}.") from error
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"{path} is not a checkpoint, or is damaged: {error}.") from error
        except CheckpointError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise CheckpointError(f"{shown(path)} cannot be read: {reason(error)}.") from error
        self._header = self._file.metadata() or {}
        if self._header.get("format") != _FORMAT or not {"content", "arrays", "header"} <= set(self._header):
            raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint that this version reads.")
        self.described = sorted(self._describe())
        content, data = self._header["content"], self._header["arrays"]
        if self._header["header"] != _header_sum(content, data, self.described):
            raise CheckpointError(f"{path} is damaged: the checksum of its header does not match.")
        self.content = _parse(content, path)

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.__exit__(*exception)

    def _describe(self) -> Iterator[list[Any]]:
        for name in self._file.keys():
            part = self._file.get_slice(name)
            yield [name, _DTYPES.get(part.get_dtype(), part.get_dtype()), list(part.get_shape())]

    def check_data(self) -> None:
        """Compares the arrays with their checksum."""
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            file.seek(_data_start(file.read(8)))
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != self._header["arrays"]:
            if identity(self.path) != self._seen:
                raise CheckpointError(f"{self.path} was replaced by another file while it was read; try again.")
            raise CheckpointError(f"{self.path} is damaged: the checksum of its arrays does not match.")

    def array(self, name: str) -> np.ndarray:
        """One array."""
        return self._file.get_tensor(name)


# What safetensors calls dtypes, where it differs from NumPy.
_DTYPES = {
    **{f"F{8 * n}": f"float{8 * n}" for n in (2, 4, 8)},
    **{f"I{8 * n}": f"int{8 * n}" for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": f"uint{8 * n}" for n in (1, 2, 4, 8)},
    "BF16": "bfloat16",
    "BOOL": "bool",
    "C64": "complex64",
}


def _header_sum(content: str, data: str, described: Described) -> str:
    return hashlib.sha256(json.dumps([content, data, described]).encode()).hexdigest()


def _data_start(beginning: bytes) -> int:
    # A safetensors file: the length of the header in 8 bytes, the header, the arrays.
    return 8 + int.from_bytes(beginning[:8], "little")


def check_names(
    path: str | os.PathLike[str], described: Described, expected: Mapping[str, jax.ShapeDtypeStruct]
) -> None:
    """Refuses arrays other than those expected.

    **Arguments:**

    - `path`: of the checkpoint, for the message.
    - `described`: name, dtype and shape of each array that it holds.
    - `expected`: those of the model, by name.

    **Raises:** [`noprop_ode.CheckpointError`][] naming the first that differ.
    """
    found = {name: (dtype, shape) for name, dtype, shape in described}
    if (unlike := set(expected) ^ set(found)) and all(name.startswith(".opt_state") for name in unlike):
        told = f"{path} was saved with another optimiser: only the state of one has {sorted(unlike)[:3]}."
        raise CheckpointError(f"{told} Give that one, or begin a run in another folder.")
    if missing := sorted(set(expected) - set(found)):
        raise CheckpointError(f"{path} lacks {missing[:3]} of the model: it was saved from another one.")
    if extra := sorted(set(found) - set(expected)):
        raise CheckpointError(f"{path} holds {extra[:3]}, which the model lacks: it was saved from another one.")
    for name, (dtype, shape) in found.items():
        leaf = expected[name]
        # A NumPy array in double precision is in single precision once it has been through a step.
        alike = {leaf.dtype.name, jax.dtypes.canonicalize_dtype(leaf.dtype).name}
        if dtype not in alike or list(leaf.shape) != shape:
            raise CheckpointError(
                f"{path} holds {name} as {dtype}{shape}, but the model expects {leaf.dtype.name}{list(leaf.shape)}."
            )


def _parse(content: str, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its metadata cannot be read ({type(error).__name__}).") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is damaged: its metadata are no mapping.")
    return values


def array_name(where: Any) -> str:
    """The name of an array in a checkpoint: its path in the PyTree."""
    return jax.tree_util.keystr(where)


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a random key, which is stored as the words that it consists of."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _stored(leaf: Any) -> np.ndarray:
    return np.asarray(jr.key_data(leaf) if is_key(leaf) else leaf, order="C")


def _stored_like(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(jr.key_data, leaf) if is_key(leaf) else jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _restored(array: np.ndarray, leaf: Any) -> Any:
    value = jax.device_put(array, may_alias=False)  # a copy; `jnp.array` would be compiled
    return jr.wrap_key_data(value, impl=jr.key_impl(jnp.empty((), leaf.dtype))) if is_key(leaf) else value
