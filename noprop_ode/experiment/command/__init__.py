"""The commands besides training: `noprop-ode evaluate`, `predict`, `plot`, `export`, `join` and `reproduce`."""

from ._evaluate import evaluate_command as evaluate_command
from ._export import export_command as export_command
from ._join import join_command as join_command
from ._plot import plot_command as plot_command
from ._predict import predict_command as predict_command
from ._reproduce import reproduce_command as reproduce_command
