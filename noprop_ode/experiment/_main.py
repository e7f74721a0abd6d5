import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import NonFiniteLossError, SolverError, data, keep_freed_memory
from ._checkpoint import CheckpointError
from ._config import Config
from ._errors import ConfigError, RunError, did_you_mean
from ._interrupt import Interrupted
from ._overrides import override, parse_overrides
from ._registry import KINDS, names_of
from ._run import run
from ._saved import load_run_config
from ._yaml import absolute, dump_yaml, import_components, read_yaml


_EPILOG = """
Any setting can be overridden, in any order, by its path or the end of it:

  --epochs 50 --model.field resnet --model.field.depth 34 --output.dir runs/mine

--print-config shows all settings and their paths.
"""


def main(configs: Path, name: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """The command line of training: a configuration, settings that override it, then a run.

    Exits with 2 for bad settings, missing data or a folder that cannot be used, with 1 for training that diverges, and
    with 128 and the number of the signal after one; each with one clear message.

    **Arguments:**

    - `configs`: the folder of configurations.
    - `name`: one of them, for a script that runs just that; otherwise the command line says.
    - `arguments`: of the command line; those of the process if not given.
    """
    guarded(lambda: _main(configs, name, sys.argv[1:] if arguments is None else arguments))


def guarded(command: Callable[[], Any]) -> None:
    """Runs a command, and turns what can go wrong for a user into one line and an exit code."""
    keep_freed_memory()
    try:
        command()
    except (ConfigError, RunError, CheckpointError, SolverError, FileNotFoundError, data.DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except NonFiniteLossError as error:
        print(f"error: {error} They are the newest checkpoint of the run.", file=sys.stderr)
        sys.exit(1)
    except Interrupted as stop:
        print(f"stopped by {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:  # outside of training, where there is nothing to save
        print("stopped by SIGINT", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _main(configs: Path, name: str | None, arguments: Sequence[str]) -> None:
    usage = None if name else "%(prog)s [NAME | --config FILE] [--SETTING VALUE ...]"
    parser = argparse.ArgumentParser(
        usage=usage,
        allow_abbrev=False,
        description="Train a classifier; NAME is a configuration that --list-configs shows.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if name is None:
        parser.add_argument("--config", type=Path, metavar="FILE", help="a configuration file of your own")
        parser.add_argument("--list-configs", action="store_true", help="list the configurations, and exit")
    parser.add_argument("--print-config", action="store_true", help="print all settings as YAML, and exit")
    parser.add_argument("--list-components", action="store_true", help="list what settings can name, and exit")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    # The name comes first: further on it could not be told from the value of a setting.
    positional = [arguments[0]] if name is None and arguments and not arguments[0].startswith("-") else []
    known, rest = parser.parse_known_args(arguments[len(positional) :])
    chosen = name or (positional[0] if positional else None)
    if name is None and known.list_configs:
        return _list_configs(configs)
    if known.list_components:
        return _list_components()
    if known.resume is not None:
        if rest or positional or getattr(known, "config", None):
            raise ConfigError("--resume goes on with the settings of the run, and takes no others.")
        run(load_run_config(known.resume), resume=known.resume)
        return
    config = _config(configs, chosen, getattr(known, "config", None), rest)
    if known.print_config:
        print(dump_yaml(config), end="")
        return
    run(config)


def _config(configs: Path, name: str | None, file: Path | None, rest: Sequence[str]) -> Config:
    if (name is None) == (file is None):
        raise ConfigError(
            "Give the name of a configuration first, such as digits_ct --epochs 3, or --config FILE; not both."
        )
    path = find_config(configs, name) if file is None else file  # pyright: ignore[reportArgumentType]
    values = read_yaml(path)
    pairs = parse_overrides(rest)
    for setting, text in pairs:
        if setting == "imports":  # before the names that they register are looked up
            values["imports"] = [absolute(part) for part in text.split(",")]
    pairs = [pair for pair in pairs if pair[0] != "imports"]
    import_components(values.get("imports") or ())
    default_name = path.stem if file is not None else name
    return override({"name": default_name, **values}, pairs)


def find_config(configs: Path, name: str) -> Path:
    """The file of a configuration by name.

    **Raises:** `ConfigError` with a hint for an unknown one.
    """
    known = config_names(configs)
    if name not in known:
        raise ConfigError(f"There is no configuration {name!r}. {did_you_mean(name, known)} For a file: --config FILE.")
    return configs / f"{name}.yaml"


def config_names(configs: Path) -> list[str]:
    """The names of the configurations in a folder, those of its folders included: `paper/mnist_ct`."""
    return sorted(str(p.relative_to(configs).with_suffix("")) for p in configs.rglob("*.yaml"))


def _list_configs(configs: Path) -> None:
    for name in config_names(configs):
        print(f"{name:24s} {read_yaml(configs / f'{name}.yaml').get('description', '')}")


def _list_components() -> None:
    for kind in KINDS:
        print(f"{kind:14s} {', '.join(names_of(kind)) or '(none registered)'}")
