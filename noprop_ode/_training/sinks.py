"""Where the records of a run go: JSON lines, TensorBoard, Weights & Biases."""

import contextlib
import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from .._optional import need
from .errors import RunError
from .files import plain_number, reason, say, shown
from .folder import METRICS
from .processes import is_first
from .run import Event, Recorded, Run, Started, Stopped


class JsonLines:
    """Writes records to `metrics.jsonl` in the folder of the run, one JSON object per line; [`noprop_ode.fit`][] adds
    it if there is a folder."""

    def __init__(self):
        self._file: Any = None

    def __call__(self, run: Run, event: Event) -> None:
        if not is_first():
            return
        if run.folder is None:
            raise RunError("A run without a folder has no place for metrics.jsonl; give it a folder.")
        match event:
            case Started():
                # Records of steps that are about to be repeated are dropped.
                path = run.folder / METRICS
                kept = read_records(path)[: run.progress.records] if run.progress.records else []
                run.folder.write(METRICS, "".join(json.dumps(r) + "\n" for r in kept).encode())
                run.progress.records = len(kept)  # after a power cut fewer may be there than a checkpoint counted
                self._file = open(path, "a", encoding="utf-8")
            case Recorded(values):
                run.folder.check()
                try:
                    self._file.write(json.dumps(values, default=plain_number) + "\n")
                    self._file.flush()
                except OSError as error:
                    raise RunError(f"Could not write {run.folder / METRICS}: {error.strerror}.") from error
            case Stopped() if self._file is not None:
                try:
                    self._file.close()
                except OSError:
                    pass  # a failed write has already been reported
            case _:
                pass


def read_records(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records in a `metrics.jsonl`. A last line that was cut off, and anything else that is no record, is left out.

    **Arguments:** `path`. **Returns:** the records; none if there is no file.

    **Raises:** [`noprop_ode.RunError`][] if the file cannot be read.
    """
    records = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict) and isinstance(record.get("kind"), str):
                    records.append(record)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise RunError(f"{shown(Path(path))} cannot be read: {reason(error)}.") from error
    return records


class TensorBoard:
    """Writes the numbers in the records as TensorBoard scalars, to `tensorboard/` in the folder of the run. If they
    cannot be written, they are dropped with a warning, and the run continues."""

    def __init__(self, folder: str | os.PathLike[str] | None = None):
        """**Arguments:** `folder`, to write to another one.

        **Raises:** [`noprop_ode.RunError`][] if tensorboardX is not installed.
        """
        # Its event writer, not its SummaryWriter, which passes records to a thread: if the thread dies because the disk
        # is full, the next record waits for it forever.
        self._writers = need("tensorboardX.event_file_writer", "TensorBoard", "tensorboard")
        self._events = need("tensorboardX.proto.event_pb2", "TensorBoard", "tensorboard")
        self._summary = need("tensorboardX.summary", "TensorBoard", "tensorboard")
        self._folder = None if folder is None else Path(folder)
        self._writer: Any = None

    def __call__(self, run: Run, event: Event) -> None:
        if not is_first():
            return
        try:
            match event:
                case Started():
                    folder = self._folder or _inside(run, "tensorboard")
                    folder.mkdir(parents=True, exist_ok=True)
                    # If a run continues within the same second, the file would be the one before, and begin anew.
                    self._writer = self._writers.EventsWriter(
                        str(folder / "events"), f".{os.getpid()}.{time.time_ns()}"
                    )
                    self._forget(run.progress.step)
                case Recorded(values) if self._writer is not None:
                    step = int(values.get("step", run.progress.step))
                    if values["kind"] == "rollback":
                        self._forget(step)
                    for name, value in _numbers(values).items():
                        self._write(step, summary=self._summary.scalar(name, value))
                    self._writer.flush()
                case Stopped() if self._writer is not None:
                    self._writer.close()
                    self._writer = None
                case _:
                    pass
        except OSError as error:
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError):
                if writer is not None:
                    writer.close()
            say(f"warning: no more records for TensorBoard: {error.strerror or error}")

    def _forget(self, step: int) -> None:
        """Makes TensorBoard drop what was written about later steps, which are about to be repeated."""
        self._write(step + 1, session_log=self._events.SessionLog(status=self._events.SessionLog.START))
        self._writer.flush()

    def _write(self, step: int, **content: Any) -> None:
        self._writer.write_event(self._events.Event(wall_time=time.time(), step=step, **content))


class WeightsAndBiases:
    """Logs the numbers in the records to Weights & Biases; offline unless WANDB_MODE says otherwise. What it fails to
    take is dropped with a warning, and the run continues."""

    def __init__(self, *, project: str = "noprop_ode", config: dict[str, Any] | None = None):
        """**Arguments:** the name of the `project`, and plain settings to show with the run.

        **Raises:** [`noprop_ode.RunError`][] if wandb is not installed.
        """
        self._wandb = need("wandb", "Weights & Biases", "wandb")
        self._project, self._config = project, config
        self._run: Any = None

    def __call__(self, run: Run, event: Event) -> None:
        if not is_first():
            return
        try:
            match event:
                case Started():
                    where = None if run.folder is None else str(run.folder.path)
                    # A resumed run continues there too; and repeated steps are logged again, which W&B's own, always
                    # increasing steps would not allow.
                    own = run.progress.notes.setdefault("wandb", secrets.token_hex(4))
                    self._run = self._wandb.init(
                        id=own,
                        resume="allow",
                        project=self._project,
                        name=socket.gethostname() if run.folder is None else run.folder.path.name,
                        dir=where,
                        config=self._config,
                        mode=os.environ.get("WANDB_MODE", "offline"),
                    )
                    self._run.define_metric("*", step_metric="step")
                case Recorded(values) if self._run is not None:
                    self._run.log({**_numbers(values), "step": int(values.get("step", run.progress.step))})
                case Stopped() if self._run is not None:
                    self._run.finish()
                    self._run = None
                case _:
                    pass
        except Exception as error:  # whatever an external service raises must not end the run
            self._run = None
            say(f"warning: no more records for Weights & Biases: {error}")


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """The numbers in a record, named by its kind: `validation/accuracy`."""
    return {
        f"{values['kind']}/{name}": value
        for name, value in values.items()
        if isinstance(value, int | float) and name not in ("step", "epoch")
    }


def _inside(run: Run, name: str) -> Path:
    if run.folder is None:
        raise RunError(f"A run without a folder has no place for {name}/; give one of them a folder.")
    return run.folder / name
