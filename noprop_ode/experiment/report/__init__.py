"""What comes after training: plots, predictions for files, an exported model, and code that their commands share."""

from ._confusion import confusion_matrix as confusion_matrix, plot_confusion as plot_confusion
from ._cost import (
    CostPoint as CostPoint,
    cost_figure as cost_figure,
    measure_cost as measure_cost,
    plot_cost as plot_cost,
    ways_by_cost as ways_by_cost,
)
from ._draw import draw_plots as draw_plots
from ._export import export_model as export_model
from ._files import (
    FilePrediction as FilePrediction,
    classify_files as classify_files,
    format_predictions as format_predictions,
)
from ._learning import plot_learning_curves as plot_learning_curves
from ._open import (
    OpenedRun as OpenedRun,
    add_prediction_flags as add_prediction_flags,
    add_run_flags as add_run_flags,
    check_data as check_data,
    open_run as open_run,
    prediction_changes as prediction_changes,
    split_of as split_of,
)
from ._plot_runs import plot_runs as plot_runs
from ._probabilities import plot_trajectories as plot_trajectories
from ._prototypes import plot_prototypes as plot_prototypes
from ._schedule import plot_schedule as plot_schedule
from ._text import printable as printable, say as say
