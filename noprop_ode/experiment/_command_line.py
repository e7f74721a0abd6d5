"""The command line of training, and the table of commands of `noprop-ode`."""

import argparse
import dataclasses
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._config import Config, ParallelConfig
from ._errors import ConfigError, did_you_mean, show
from ._imports import import_components
from ._main import guarded
from ._overrides import override, parse_overrides
from ._recipes import absolute, config_names, find_config, read_yaml
from ._registry import KINDS, POSITIONAL, names_of
from ._run import run
from ._saved import load_run_config
from ._seeds import parse_seeds, run_seeds
from ._yaml import dump_yaml


# Each command: its function in `noprop_ode.experiment`, which takes `arguments` and a `prog`, and what it does.
COMMANDS = {
    "train": ("main", "train a classifier from a configuration"),
    "evaluate": ("evaluate_command", "evaluate a saved model again, as before or with another prediction"),
    "predict": ("predict_command", "classify image files"),
    "plot": ("plot_command", "draw plots of runs"),
    "join": ("join_command", "join separately trained blocks into one model"),
    "reproduce": ("reproduce_command", "run the paper's table, and write its page"),
    "export": ("export_command", "export a model that predicts without this package"),
}

_EPILOG = """
Any setting can be overridden, in any order, by its path or the end of it:

  --epochs 50 --model.field resnet --model.field.depth 34 --out runs/mine --data-dir data

--print-config shows all settings and their paths.
"""


def console(arguments: Sequence[str] | None = None) -> None:
    """The command `noprop-ode`.

    **Arguments:** `arguments` of the command line; those of the process if not given.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in ("-h", "--help"):
        print("usage: noprop-ode COMMAND [...]\n")
        print("\n".join(f"  {command:10s} {what}" for command, (_, what) in COMMANDS.items()))
        print("\nnoprop-ode COMMAND --help shows the help of a command.")
    elif name == "--version":
        print(importlib.metadata.version("noprop_ode"))
    elif name not in COMMANDS:
        print(f"error: there is no command {show(name)}. {did_you_mean(name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    else:
        command = getattr(importlib.import_module("noprop_ode.experiment"), COMMANDS[name][0])
        command(arguments=rest, prog=f"noprop-ode {name}")


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """The command line of training: a configuration, settings that override it, then a run.

    Exits with 2 for bad settings, missing data or an unusable folder, with 1 if training diverges, and with 128 plus
    the number of the signal after a signal; each with one clear message.

    **Arguments:**

    - `arguments`: of the command line; those of the process if not given.
    - `prog`: the name of the command, for its help.
    """
    guarded(lambda: _main(sys.argv[1:] if arguments is None else arguments, prog))


def _parser(prog: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [NAME | --config FILE] [--SETTING VALUE ...]",
        allow_abbrev=False,
        description="Train a classifier; NAME is a configuration that --list-configs shows.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="your own configuration file")
    parser.add_argument("--list-configs", action="store_true", help="list the configurations, and exit")
    parser.add_argument("--print-config", action="store_true", help="print all settings as YAML, and exit")
    parser.add_argument("--list-components", action="store_true", help="list the registered components, and exit")
    parser.add_argument("--seeds", metavar="SEEDS", help="one run per seed: 0,1,2, or the number of seeds, 3")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="resume the run in this folder")
    parser.add_argument("--trust-imports", action="store_true", help="run the code that the resumed run imports")
    return parser


def _main(arguments: Sequence[str], prog: str | None) -> None:
    # The name comes first: later it could not be told from the value of a setting.
    chosen = arguments[0] if arguments and not arguments[0].startswith("-") else None
    known, rest = _parser(prog).parse_known_args(arguments if chosen is None else arguments[1:])
    file, listing = known.config, known.list_configs or known.list_components
    if not listing and known.resume is None and (chosen is None) == (file is None):
        raise ConfigError(
            "Give the name of a configuration first, such as digits_ct --epochs 3, or --config FILE; not both."
        )
    pairs = parse_overrides(rest)
    if known.list_configs:
        for found in config_names():
            print(f"{found:24s} {find_config(found).get('description', '')}")
    elif known.list_components:
        _plain(chosen, file, pairs)  # for what it imports
        for kind in (*KINDS, *POSITIONAL):
            print(f"{kind:14s} {', '.join(names_of(kind)) or '(none registered)'}")
    elif known.resume is not None and known.seeds is not None:
        raise ConfigError("--resume goes on with one run; to go on with several seeds, give their --out again.")
    elif known.resume is not None:
        config = _resumed(known.resume, pairs, chosen is None and file is None, known.trust_imports)
        if known.print_config:
            print(dump_yaml(config), end="")
        else:
            run(config, resume=known.resume)
    else:
        config = configured(chosen, file, pairs)
        if known.print_config:
            print(dump_yaml(config), end="")
        elif known.seeds is not None:
            if config.parallel.distributed:
                raise ConfigError("--seeds: several processes train one seed together; start a job for each seed.")
            if any(name in ("seed", "training.seed") for name, _ in pairs):
                raise ConfigError("--seeds names the seeds; leave out --seed.")
            run_seeds(config, parse_seeds(known.seeds))
        else:
            run(config)


def configured(name: str | None, file: Path | None, pairs: Sequence[tuple[str, str]]) -> Config:
    """The settings of a new run: a configuration by its name or a file, and what overrides it."""
    config: Config = override(_plain(name, file, pairs), [pair for pair in pairs if pair[0] != "imports"])
    return _from_here(config)


def _from_here(config: Config) -> Config:
    """Makes the data folder an absolute path, so that a run finds it from any working directory."""
    return config if config.data.dir is None else config.replace(data={"dir": os.path.abspath(config.data.dir)})


def _plain(name: str | None, file: Path | None, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The settings before any override; their imports are run, because the user named them here."""
    values = {} if name is None else find_config(name)
    if file is not None:
        values = {"name": file.stem, **read_yaml(file)}
    for setting, text in pairs:
        if setting == "imports":
            values["imports"] = [absolute(part) for part in text.split(",")]
    import_components(values.get("imports"), trust_imports=True)
    return values


def _resumed(folder: Path, pairs: Sequence[tuple[str, str]], alone: bool, trust_imports: bool) -> Config:
    """The settings of a resumed run."""
    parallel = tuple(f"parallel.{f.name}" for f in dataclasses.fields(ParallelConfig))
    free = ("epochs", "training.epochs", "data.dir", "workers", "data.workers", *parallel)
    if not alone or any(setting not in free for setting, _ in pairs):
        raise ConfigError(
            "--resume goes on with the settings of the run: leave out the name of a configuration; it takes no others "
            "but --epochs, --data-dir, --data.workers and --parallel..."
        )
    config: Config = load_run_config(folder, trust_imports=trust_imports)
    return _from_here(override(config.to_plain(), pairs))
