"""The harness of the experiment scripts; never imported by the core."""

from jaxtyping import install_import_hook as _install_import_hook

from .._importing import collector_paused as _collector_paused


with _collector_paused(), _install_import_hook("noprop_ode.experiment", "noprop_ode._typecheck.typecheck"):
    from . import _parts_model as _parts_model, _parts_training as _parts_training  # register the built-in components
    from ._build import build_model as build_model, build_prediction as build_prediction, protocols as protocols
    from ._build_optimiser import build_learning_rate as build_learning_rate, build_optimiser as build_optimiser
    from ._command_line import console as console, main as main
    from ._config import Config as Config
    from ._context import Context as Context, DataSpec as DataSpec
    from ._data import load_data as load_data
    from ._errors import ConfigError as ConfigError
    from ._evaluate import (
        evaluate_protocols as evaluate_protocols,
        evaluation_key as evaluation_key,
    )
    from ._flags import flags as flags
    from ._join import join_runs as join_runs
    from ._overrides import override as override, parse_overrides as parse_overrides
    from ._recipes import config_names as config_names, find_config as find_config, load_config as load_config
    from ._registry import register as register
    from ._run import run as run
    from ._saved import load_model as load_model, load_run_config as load_run_config
    from ._seeds import run_seeds as run_seeds
    from ._values import Interval as Interval
    from ._yaml import dump_yaml as dump_yaml
    from .command import (
        evaluate_command as evaluate_command,
        export_command as export_command,
        join_command as join_command,
        plot_command as plot_command,
        predict_command as predict_command,
        reproduce_command as reproduce_command,
    )
    from .report import (
        FilePrediction as FilePrediction,
        classify_files as classify_files,
        export_model as export_model,
        plot_confusion as plot_confusion,
        plot_cost as plot_cost,
        plot_learning_curves as plot_learning_curves,
        plot_prototypes as plot_prototypes,
        plot_runs as plot_runs,
        plot_schedule as plot_schedule,
        plot_trajectories as plot_trajectories,
        ways_by_cost as ways_by_cost,
    )
