"""The harness of the experiment scripts; never imported by the core."""

from jaxtyping import install_import_hook as _install_import_hook


with _install_import_hook("noprop_ode.experiment", "noprop_ode._typecheck.typecheck"):
    from ._build import DataSpec as DataSpec, build_model as build_model, build_optimiser as build_optimiser
    from ._checkpoint import (
        CheckpointError as CheckpointError,
        load_arrays as load_arrays,
        read_header as read_header,
        save_arrays as save_arrays,
    )
    from ._config import Config as Config
    from ._main import main as main
    from ._plots import (
        plot_learning_curve as plot_learning_curve,
        plot_probabilities as plot_probabilities,
        trajectory_probabilities as trajectory_probabilities,
    )
    from ._protocols import protocols as protocols
    from ._run import (
        evaluate_protocols as evaluate_protocols,
        evaluation_key as evaluation_key,
        load_model as load_model,
        run as run,
    )
