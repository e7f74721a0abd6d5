"""The commands that come after training: `noprop-ode evaluate`, `predict`, `plot` and `export`."""

from ._evaluate import evaluate_command as evaluate_command
from ._export import export_command as export_command
from ._plot import plot_command as plot_command
from ._predict import predict_command as predict_command
