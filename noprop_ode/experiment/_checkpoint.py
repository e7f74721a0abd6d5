"""Models on disk: named arrays and a JSON header in one zip file. No pickle."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


_FORMAT = "noprop_ode/1"
_HEADER = "header.json"


class CheckpointError(ValueError):
    """A file is not a model of ours, is damaged, or does not fit the model it is loaded into."""


def save_arrays(path: Path, tree: PyTree[Any], metadata: dict[str, Any]) -> None:
    """Writes the arrays of a PyTree and a header, atomically: the file is either whole or not there.

    **Arguments:**

    - `path`: where to write.
    - `tree`: any PyTree; leaves that are not arrays are left out.
    - `metadata`: plain values for the header.
    """
    arrays = _named_arrays(tree)
    header = {
        "format": _FORMAT,
        "metadata": metadata,
        "arrays": {name: [list(array.shape), str(array.dtype)] for name, array in arrays.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:  # stored with a CRC-32 for each entry
            archive.writestr(_HEADER, json.dumps(header, indent=1))
            for name, array in arrays.items():
                archive.writestr(name, array.tobytes())
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_header(path: Path) -> dict[str, Any]:
    """The metadata of a saved model.

    **Raises:** `FileNotFoundError`, or `CheckpointError` for a file that is not ours.
    """
    return _read(path, with_arrays=False)[0]["metadata"]


def load_arrays(path: Path, like: PyTree[Any]) -> PyTree[Any]:
    """Reads arrays into a PyTree of the same structure.

    **Arguments:**

    - `path`: a file that `save_arrays` wrote.
    - `like`: a PyTree with arrays (or `jax.ShapeDtypeStruct`) of the expected names, shapes and dtypes.

    **Returns:** `like` with its arrays replaced.

    **Raises:** `FileNotFoundError`, or `CheckpointError` naming what is damaged or does not fit.
    """
    header, arrays = _read(path, with_arrays=True)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {jax.tree_util.keystr(where): leaf for where, leaf in leaves if _is_array(leaf)}
    found = header["arrays"]
    if missing := sorted(set(expected) - set(found)):
        raise CheckpointError(f"{path} lacks {missing[:3]} of the model: it was saved from another one.")
    if extra := sorted(set(found) - set(expected)):
        raise CheckpointError(f"{path} holds {extra[:3]}, which the model lacks: it was saved from another one.")
    for name, leaf in expected.items():
        want = [list(leaf.shape), str(leaf.dtype)]
        if found[name] != want:
            raise CheckpointError(f"{path} holds {name} as {found[name]}, but the model expects {want}.")
    new = [arrays[jax.tree_util.keystr(where)] if _is_array(leaf) else leaf for where, leaf in leaves]
    return jax.tree_util.tree_unflatten(structure, new)


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _named_arrays(tree: PyTree[Any]) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(where): np.asarray(leaf) for where, leaf in leaves if eqx.is_array(leaf)}


def _read(path: Path, *, with_arrays: bool) -> tuple[dict[str, Any], dict[str, jax.Array]]:
    if not path.exists():
        raise FileNotFoundError(f"No saved model at {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(_HEADER))
            if header["format"] != _FORMAT:
                raise CheckpointError(f"{path} has format {header['format']!r}; this version reads {_FORMAT!r}.")
            arrays = {}
            for name, (shape, dtype) in header["arrays"].items() if with_arrays else ():
                flat = np.frombuffer(archive.read(name), dtype=jax.numpy.dtype(dtype))
                arrays[name] = jax.numpy.asarray(flat.reshape(shape))
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, NotImplementedError, EOFError) as error:
        raise CheckpointError(f"{path} is not a saved model, or is damaged: {error}") from error
    return header, arrays
