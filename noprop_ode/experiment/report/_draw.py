"""The plots of a finished run."""

import sys
from collections.abc import Callable
from pathlib import Path

from ... import AbstractModel, OneBlock, Prediction, data, read_records
from ..._training.folder import METRICS
from ..._types import AnyPath
from .._config import Config
from .._evaluate import evaluation_key
from ._confusion import plot_confusion
from ._learning import plot_learning_curves
from ._probabilities import plot_trajectories
from ._text import printable, shortened


def draw_plots(
    folder: AnyPath,
    model: AbstractModel,
    test: data.Dataset | None,
    config: Config,
    *,
    prediction: Prediction | None = None,
) -> None:
    """The plots of a finished run: learning curve, class probabilities along t, confusion matrix.

    The numbers are what counts, and `noprop-ode plot` can draw a plot again: any error in one is only a warning.

    **Arguments:**

    - `folder`: the folder of the run.
    - `model`: the trained model.
    - `test`: the test set; without one, only the learning curve is drawn.
    - `config`: the settings of the run.
    - `prediction`: how the run predicts; the model's default if not given.
    """
    folder, key = Path(folder), evaluation_key(config)  # that of the summary, whose accuracy a plot repeats

    def learning(path: Path) -> None:
        records = {folder.name: read_records(folder / METRICS)}
        plot_learning_curves(path, records, settings={folder.name: config.to_plain()})

    plots: dict[str, Callable[[Path], None]] = {}
    if (folder / METRICS).exists():  # a model joined from blocks has no curve of its own
        plots["learning_curve.png"] = learning
    if test is not None and not isinstance(model, OneBlock):  # which has no trajectory
        plots["probabilities.png"] = lambda path: plot_trajectories(path, model, test, key=key, prediction=prediction)
    if test is not None:
        plots["confusion.png"] = lambda path: plot_confusion(path, model, test, key=key, prediction=prediction)
    for name, draw in plots.items():
        try:
            draw(folder / name)
        except Exception as error:
            reason = shortened(str(error).partition("\n")[0] or type(error).__name__, 300)
            print(f"warning: {printable(folder / name)} could not be drawn: {reason}", file=sys.stderr)
