"""Continuing a run: only with the settings and the data that it began with."""

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np

from .._lazy import AbstractLazyImages
from .._model import AbstractModel
from .._wording import show
from .errors import CheckpointError, Interrupted, RunError
from .files import say
from .folder import METRICS
from .generator import NonFiniteLossError
from .parallel import lies_on_several
from .processes import agreed, arrays_of_first, on_first, tell
from .run import Progress, Run
from .sharded import check_parts, load_parts
from .step import TrainState


_T = TypeVar("_T")


def data_digest(splits: Any) -> str:
    """A checksum of the training and the validation part, which tells data of another seed or share apart. For lazy
    images it uses their own fingerprint, so they count as other data than the same images in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (splits.train, splits.validation):
        if part is None:
            digest.update(b"none")
            continue
        images = part.images
        if isinstance(images, AbstractLazyImages):
            digest.update(f"{images.shape}{images.fingerprint()}".encode())
        arrays = [part.labels] if isinstance(images, AbstractLazyImages) else [images, part.labels]
        for array in map(np.asarray, arrays):
            digest.update(f"{array.dtype}{array.shape}".encode())
            # As bytes: NumPy gives no buffer of bfloat16.
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def begin(
    run: Run,
    settings: dict[str, Any],
    place: Callable[[TrainState], TrainState],
    *,
    kept: bool,
    resume: bool,
    steps_per_call: int,
) -> bool:
    """Puts a run at its start, or at its newest checkpoint.

    **Arguments:** the run, the settings that it must continue with, and a function that places a state where the
    checkpoints take it from; whether the run has a folder, whether it resumes, and how many steps it makes at a time.

    **Returns:** whether it is a new run in a folder.

    **Raises:** [`noprop_ode.RunError`][] if the folder cannot be used, or if processes differ.
    """
    if not kept and jax.process_count() == 1:
        return False
    settings = {**settings, "data": data_digest(run)}
    if jax.process_count() > 1:
        own = {"epochs": run.epochs, "resume": resume, "steps_per_call": steps_per_call}
        _refuse_unlike(run.state.model, {**settings, **own})
    if not any(map(lies_on_several, jax.tree.leaves(run.state))):
        run.state = arrays_of_first(run.state)  # made on other hardware, weights may differ in their last bits
    run.state = place(run.state)  # where each process finds the part that it writes and reads
    if not kept:
        return False
    run.metadata = {**run.metadata, "fit": settings}
    if new := not (resume and restore(run)):
        on_first(lambda: None if run.folder is None else run.folder.claim([METRICS]))
        run.save()  # from here on the folder belongs to this run
    return new


def _refuse_unlike(model: AbstractModel, settings: dict[str, Any]) -> None:
    """Refuses processes that differ: they would wait for each other forever, or train different weights."""
    # Made in the same way on other hardware, weights may differ in the last bit.
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    weights = [float(np.abs(np.asarray(a)).sum(dtype=np.float64)) for a in arrays if a.is_fully_addressable]
    told, sums = tell([settings, weights])
    unlike = [name for name, value in settings.items() if told.get(name) != value]
    if len(sums) != len(weights) or not np.allclose(sums, weights, rtol=1e-5, atol=0, equal_nan=True):
        unlike.append("initial weights")
    if any(agreed(bool(unlike))):
        raise RunError(
            f"The processes of this run have different {', '.join(unlike) or 'arguments'}; expected the same in each."
        )


def forget_failed_start(run: Run, kind: Any, error: Any, trace: Any) -> None:
    """Removes what a new run wrote if it failed before its first step was done, because images did not fit the network
    or memory ran out: there is nothing to continue from, and the corrected program may begin in the same folder.

    **Arguments:** the run; the rest is what a context manager is told about the error.
    """
    kept = isinstance(error, Interrupted | NonFiniteLossError | RunError) or not isinstance(error, Exception)
    if kept or run.progress.step or run.folder is None or run.store is None or not run.folder.is_there:
        return
    run.store.clear()
    (run.folder / METRICS).unlink(missing_ok=True)


def restore(run: Run) -> bool:
    """Puts a run at its newest good checkpoint.

    **Returns:** whether there was one.

    **Raises:** [`noprop_ode.RunError`][] if there are checkpoints and none can be used, or if they belong to a run with
    other settings or data.
    """
    problems: list[str] = []
    if _restore_parts(run, problems):
        return True
    found = on_first(lambda: _checked(run, _newest(run)))
    if not tell(found is not None):
        if problems:
            raise RunError(f"No checkpoint of this run can be used: {' '.join(problems)}")
        return False
    state, plain = (run.state, None) if found is None else found
    run.go_on_from(arrays_of_first(state), tell(plain))
    return True


def _restore_parts(run: Run, problems: list[str]) -> bool:
    """Restores the newest good checkpoint in parts, unless the newest of all is a file; every process reads its own
    part. What is wrong with others is added to the `problems`.

    **Returns:** whether there was one.
    """
    for path in map(Path, tell(on_first(lambda: _folders(run)))):
        checked, problem = _tried(lambda path=path: check_parts(path, run.state))
        found = None
        if not any(agreed(checked is None)):  # Orbax makes the processes meet, so all of them call it, or none
            assert checked is not None
            found, problem = _tried(lambda path=path, checked=checked: load_parts(path, run.state, checked))
        if any(agreed(found is None)):  # one that a single process cannot read is skipped by all
            problems.append(problem or f"Another process could not read {path}.")
            say(f"warning: {problems[-1]} Trying the one before.")
            continue
        assert found is not None
        on_first(lambda found=found: _checked(run, found))
        run.go_on_from(found[0], found[1]["progress"])
        return True
    return False


def _tried(read: Callable[[], _T]) -> tuple[_T | None, str]:
    """What a function returns, or why a checkpoint cannot be read."""
    try:
        return read(), ""
    except CheckpointError as error:
        return None, str(error)


def _folders(run: Run) -> list[str]:
    """The checkpoints in parts that are newer than any file, newest first."""
    assert run.store is not None and run.folder is not None
    run.folder.refuse_link()
    return [str(path) for path in itertools.takewhile(Path.is_dir, run.store.steps())]


def _newest(run: Run) -> tuple[TrainState, dict[str, Any]] | None:
    assert run.store is not None and run.folder is not None
    run.folder.refuse_link()
    return run.store.newest(run.state)


def _checked(run: Run, found: tuple[TrainState, dict[str, Any]] | None) -> tuple[TrainState, dict[str, Any]] | None:
    """The state and the plain progress of a checkpoint, if it belongs to this run."""
    assert run.folder is not None
    if found is None:
        return None
    state, metadata = found
    try:
        progress = Progress.from_plain(metadata["progress"])
        began = dict(metadata["fit"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"The checkpoints in {run.folder.path} do not say how far their run was: {str(error)[:200]}."
        ) from error
    if progress.step != int(state.step):
        raise RunError(f"The newest checkpoint in {run.folder.path} is of step {state.step}, but says {progress.step}.")
    now = run.metadata["fit"]
    if differing := [name for name in now if began.get(name) != now[name]]:
        raise RunError(
            f"{run.folder.path} holds a run that began with "
            f"{', '.join(_told(name, began.get(name)) for name in differing)}; now it would be "
            f"{', '.join(_told(name, now[name]) for name in differing)}. A run goes on with what it began with: change "
            "that back, or begin another run in another folder."
        )
    if progress.step > run.num_steps:
        raise RunError(
            f"{run.folder.path} holds a run that has taken {progress.step} steps already, and {run.epochs} epochs are "
            f"{run.num_steps}. Ask for as many epochs as it had, or more."
        )
    return state, metadata["progress"]


def _told(name: str, value: Any) -> str:
    return "other images or labels" if name == "data" else f"{name}={show(value)}"
