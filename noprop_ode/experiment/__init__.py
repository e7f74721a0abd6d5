"""The harness of the experiment scripts; never imported by the core."""

from jaxtyping import install_import_hook as _install_import_hook


with _install_import_hook("noprop_ode.experiment", "noprop_ode._typecheck.typecheck"):
    from . import _parts_model as _parts_model, _parts_training as _parts_training  # register what is built in
    from ._build import (
        build_model as build_model,
        build_optimiser as build_optimiser,
        build_prediction as build_prediction,
        protocols as protocols,
    )
    from ._checkpoint import (
        CheckpointError as CheckpointError,
        load_arrays as load_arrays,
        read_header as read_header,
        save_arrays as save_arrays,
    )
    from ._command_line import console as console, main as main
    from ._config import Config as Config
    from ._context import Context as Context, DataSpec as DataSpec
    from ._data import load_data as load_data
    from ._errors import ConfigError as ConfigError, RunError as RunError
    from ._evaluate import evaluate_protocols as evaluate_protocols, print_table as print_table
    from ._export import export_model as export_model
    from ._files import (
        FilePrediction as FilePrediction,
        classify_files as classify_files,
        format_predictions as format_predictions,
    )
    from ._imports import import_components as import_components
    from ._interrupt import Interrupted as Interrupted
    from ._log import read_records as read_records
    from ._main import guarded as guarded
    from ._overrides import override as override, parse_overrides as parse_overrides
    from ._plot_runs import plot_runs as plot_runs
    from ._plots import (
        confusion_matrix as confusion_matrix,
        plot_confusion as plot_confusion,
        plot_cost as plot_cost,
        plot_learning_curves as plot_learning_curves,
        plot_prototypes as plot_prototypes,
        plot_schedule as plot_schedule,
        plot_trajectories as plot_trajectories,
    )
    from ._recipes import config_names as config_names, find_config as find_config, load_config as load_config
    from ._registry import register as register
    from ._run import evaluation_key as evaluation_key, run as run
    from ._saved import load_model as load_model, load_run_config as load_run_config
    from ._values import Interval as Interval
    from ._yaml import dump_yaml as dump_yaml
