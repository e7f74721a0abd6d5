"""The harness of the experiment scripts; never imported by the core."""

from jaxtyping import install_import_hook as _install_import_hook


with _install_import_hook("noprop_ode.experiment", "noprop_ode._typecheck.typecheck"):
    from . import _parts_model as _parts_model, _parts_training as _parts_training  # register what is built in
    from ._allocator import keep_freed_memory as keep_freed_memory
    from ._build import (
        build_model as build_model,
        build_optimiser as build_optimiser,
        build_prediction as build_prediction,
    )
    from ._checkpoint import (
        CheckpointError as CheckpointError,
        load_arrays as load_arrays,
        read_header as read_header,
        save_arrays as save_arrays,
    )
    from ._config import Config as Config
    from ._context import Context as Context, DataSpec as DataSpec
    from ._data import load_data as load_data
    from ._errors import ConfigError as ConfigError, RunError as RunError
    from ._evaluate import evaluate_protocols as evaluate_protocols, print_table as print_table
    from ._interrupt import Interrupted as Interrupted
    from ._log import read_records as read_records
    from ._main import config_names as config_names, find_config as find_config, guarded as guarded, main as main
    from ._overrides import override as override, parse_overrides as parse_overrides
    from ._protocols import protocols as protocols
    from ._registry import register as register
    from ._run import evaluation_key as evaluation_key, run as run
    from ._saved import load_model as load_model, load_run_config as load_run_config
    from ._yaml import dump_yaml as dump_yaml, load_config as load_config
    from .report._confusion import confusion_matrix as confusion_matrix, plot_confusion as plot_confusion
    from .report._cost import plot_cost as plot_cost, ways_by_cost as ways_by_cost
    from .report._draw import draw_plots as draw_plots
    from .report._export import export_model as export_model
    from .report._files import (
        FilePrediction as FilePrediction,
        classify_files as classify_files,
        format_predictions as format_predictions,
    )
    from .report._learning import plot_learning_curves as plot_learning_curves
    from .report._open import (
        OpenedRun as OpenedRun,
        add_prediction_flags as add_prediction_flags,
        add_run_flags as add_run_flags,
        check_data as check_data,
        open_run as open_run,
        prediction_arguments as prediction_arguments,
        prediction_changes as prediction_changes,
        split_of as split_of,
    )
    from .report._plot_runs import plot_runs as plot_runs
    from .report._probabilities import plot_trajectories as plot_trajectories
    from .report._prototypes import plot_prototypes as plot_prototypes
    from .report._schedule import plot_schedule as plot_schedule
    from .report._text import printable as printable, say as say
