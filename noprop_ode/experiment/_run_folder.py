"""The folder of a run: a new one, or that of a run to resume."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from .. import Run, RunError, RunFolder, Started
from .._training.folder import METRICS
from .._training.store import step_checkpoints, step_header
from ._config import Config
from ._environment import device, versions, write_json
from ._errors import ConfigError
from ._saved import CONFIG_FILE, MEASURED_FILES, MODEL_FILE, SUMMARY_FILE, finished_epochs
from ._schema import parse_section
from ._yaml import dump_yaml


_ENVIRONMENT = "environment.json"
# What a run writes besides checkpoints, and so must not find.
_FILES = (CONFIG_FILE, MODEL_FILE, SUMMARY_FILE, *MEASURED_FILES, METRICS, _ENVIRONMENT, "tensorboard", "wandb")
_PLOTS = ("learning_curve.png", "probabilities.png", "confusion.png")


def open_folder(config: Config, resume: Path | None = None) -> RunFolder:
    """The folder for a run, locked, with its settings in it; those of a resumed run stay as they were until
    [`noprop_ode.fit`][] has accepted it (`keep_settings`).

    **Arguments:** the settings, and the folder of a run with these settings to resume.

    **Raises:** [`noprop_ode.RunError`][] or `ConfigError` if it cannot be used.
    """
    folder = _new(config) if resume is None else _reopen(config, resume)
    try:
        if not (folder / CONFIG_FILE).exists():
            folder.claim([*_FILES, *_PLOTS])
        if resume is None or not (folder / CONFIG_FILE).exists():
            folder.write(CONFIG_FILE, dump_yaml(config).encode())  # first: from here on, the run can be resumed
        if not (folder / _ENVIRONMENT).exists():
            write_json(folder, _ENVIRONMENT, {"device": device(), "versions": versions()})
    except BaseException:
        folder.close()
        raise
    return folder


def keep_settings(config: Config) -> Callable[[Run, Any], None]:
    """A callback that writes the settings of a resumed run: it may be longer now, or its data may be elsewhere."""

    def keep(run: Run, event: Any) -> None:
        if isinstance(event, Started) and run.folder is not None:
            run.folder.write(CONFIG_FILE, dump_yaml(config).encode())

    return keep


def forget_failed_start(folder: RunFolder) -> None:
    """Removes the settings of a new run that failed before the end of its first step: there is nothing to resume, and
    the corrected command may start in the folder."""
    left = (METRICS, "tensorboard", "wandb")  # without its settings, nobody could continue these
    if folder.is_there and not step_checkpoints(folder.path) and not any((folder / name).exists() for name in left):
        for name in (CONFIG_FILE, _ENVIRONMENT):
            (folder / name).unlink(missing_ok=True)


def _new(config: Config) -> RunFolder:
    if config.output.dir is None:
        block = "" if config.training.one_block is None else f"-block{config.training.one_block}"
        return RunFolder.numbered(Path("runs"), f"{config.name}{block}-seed{config.training.seed}".replace("/", "-"))
    path = config.output.dir
    if (path / SUMMARY_FILE).exists() or (path / CONFIG_FILE).exists():
        finished = (path / SUMMARY_FILE).exists()
        way_on = "" if _joined(path) else f", or go on with it by --resume {path}{' --epochs N' if finished else ''}"
        raise RunError(
            f"{path} already holds {'a finished run' if finished else 'a run that is not finished'}; choose another "
            f"folder (--out), or move it away{way_on}."
        )
    return RunFolder(path)


def _joined(path: Path) -> bool:
    """Whether the model in the folder was not trained here: its blocks were joined."""
    return (path / MODEL_FILE).exists() and not (path / METRICS).exists() and not step_checkpoints(path)


def _reopen(config: Config, path: Path) -> RunFolder:
    """The folder of a run to resume, if these are its settings."""
    if not path.is_dir():
        raise RunError(f"There is no run to resume at {path}.")
    if _joined(path):
        raise RunError(
            f"The model at {path} was joined of blocks that trained apart, and has nothing to go on from. Join them "
            "again into another folder, or resume the run of a block."
        )
    folder = RunFolder(path)
    try:
        header = _newest_header(path)
        began = None if header is None else header["config"]
        if began is not None and (differing := differences(began, config)):
            raise ConfigError(
                f"The run at {path} began with other settings: {', '.join(differing)}. Undo the changes to its "
                "config.yaml, or begin another run."
            )
        if (path / SUMMARY_FILE).exists() and began is None:
            raise RunError(
                f"The run at {path} is finished, and has no checkpoint left that can be read. Begin another with its "
                f"weights: --training.warm_start {path}."
            )
        # By its summary: the checkpoints of an extension that was stopped already have more epochs.
        if (path / SUMMARY_FILE).exists() and config.training.epochs <= finished_epochs(path):
            raise RunError(
                f"The run at {path} is finished; its figures are in {SUMMARY_FILE}. To train it for longer: "
                f"--resume {path} --epochs N, with more epochs than it had."
            )
        _refuse_stopped(path, header)
    except BaseException:
        folder.close()
        raise
    return folder


def _refuse_stopped(path: Path, header: dict[str, Any] | None) -> None:
    """Refuses to extend a run that stopped by itself: nothing else would, and it would only be evaluated again."""
    progress = {} if header is None else header.get("progress", {})
    if (path / SUMMARY_FILE).exists() and isinstance(progress, dict) and progress.get("stopped"):
        raise RunError(
            f"The run at {path} stopped by itself after epoch {progress.get('epoch', 0)}, without a better one "
            "(training.patience); more epochs would change nothing. Begin another run without patience."
        )


def _newest_header(path: Path) -> dict[str, Any] | None:
    """The header of the newest checkpoint that has settings."""
    for checkpoint in step_checkpoints(path):
        try:
            header = step_header(checkpoint)
            found = header["config"]
        except (ValueError, KeyError, OSError):
            continue
        if isinstance(found, dict) and all(isinstance(found.get(section), dict) for section in SECTIONS):
            return header
    return None


SECTIONS = ("data", "model", "optimiser", "training", "prediction")
ELSEWHERE = (("data", "dir"), ("data", "workers"))  # what may differ from machine to machine


def differences(
    began: dict[str, Any],
    config: Config,
    free: Collection[tuple[str, str]] = (("training", "epochs"), *ELSEWHERE),
) -> list[str]:
    """The settings that differ, except for those that may.

    **Arguments:** settings as plain values, other settings, and by section and name what a resumed run may change: its
    length, where its data are, and how many processes read them. A missing setting has its default: a run may be older
    than the setting.

    **Returns:** the paths of the settings that differ.
    """
    now, before = config.to_plain(), _completed(began)
    return [
        f"{section}.{name}"
        for section in SECTIONS
        for name in now[section]
        if (section, name) not in free and before[section][name] != now[section][name]
    ]


def _completed(began: dict[str, Any]) -> dict[str, Any]:
    """Settings with defaults for those that are missing, also within components."""
    sections = {name: began.get(name) or {} for name in SECTIONS}
    try:
        return parse_section(Config, sections, "").to_plain()
    except ConfigError:  # for something that is no longer known, or not yet imported
        defaults = Config().to_plain()
        return {name: {**defaults[name], **sections[name]} for name in SECTIONS}
