"""The classes of image files."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ... import AbstractModel
from ..._optional import need
from ..._prediction.alike import predict_alike
from ..._types import AnyPath
from .._build import build_prediction
from .._config import Config
from .._context import DataSpec
from .._errors import RunError
from .._evaluate import evaluation_key
from ._images import check_shape, find_images, read_image
from ._text import printable


class FilePrediction(NamedTuple):
    """The likeliest classes of one image file, with their probabilities and their positions among the classes
    (`labels`); or `error`, why it could not be read."""

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    labels: tuple[int, ...] = ()
    error: str | None = None


def classify_files(
    model: AbstractModel, config: Config, spec: DataSpec, paths: Sequence[AnyPath], *, top: int = 3
) -> list[FilePrediction]:
    """Classifies image files as the configuration predicts.

    **Arguments:**

    - `model`, `config`, `spec`: from [`noprop_ode.experiment.load_model`][].
    - `paths`: PNG, JPEG, GIF, BMP, TIFF, WebP or PPM files, or folders, which are searched with their subfolders.
    - `top`: the number of classes per file.

    **Returns:** one prediction per file, which depends on no other file; if it cannot be read, an `error` instead of
    classes.

    **Raises:** `RunError` for a path that does not exist, or if no image can be read.
    """
    tqdm = need("tqdm", "The progress of a prediction").tqdm
    if top < 1:
        raise RunError(f"Expected at least one class to show; got top={top}.")
    if len(spec.class_names) != model.embedding.num_classes:
        raise RunError(
            f"The header of the model names {len(spec.class_names)} classes, but it has {model.embedding.num_classes}."
        )
    check_shape(spec.image_shape)
    if not 0 <= spec.mean <= 1 or spec.std > 0.5:
        raise RunError(
            f"The model was trained on images of mean {spec.mean:.3g} and deviation {spec.std:.3g}, which pixels in "
            "[0, 1] do not have: its loader changed them. Predict in Python, from images that were changed alike."
        )
    prediction, key = build_prediction(config, model, spec), evaluation_key(config)
    files = [file for path in paths for file in find_images(Path(path))]
    images, errors = [], {}
    for i, file in enumerate(tqdm(files, unit="file", disable=None, file=sys.stderr, leave=False)):
        try:
            images.append(read_image(file, spec.image_shape))
        except RunError as error:
            errors[i] = str(error)
    if not images:
        raise RunError(next(iter(errors.values())))
    # The prediction for a file does not depend on the other files.
    log_ps = predict_alike(model, np.stack(images), key=key, prediction=prediction)
    ps = iter(np.exp(log_ps))
    found = []
    for i, file in enumerate(files):
        if i in errors:
            found.append(FilePrediction(str(file), (), (), error=errors[i]))
            continue
        p = next(ps)
        order = np.argsort(-p)[:top].tolist()
        classes, probabilities = tuple(spec.class_names[c] for c in order), tuple(float(p[c]) for c in order)
        found.append(FilePrediction(str(file), classes, probabilities, tuple(order)))
    return found


def format_predictions(found: Sequence[FilePrediction], style: Literal["table", "csv", "json"]) -> str:
    """Predictions as text; characters in names that a terminal would interpret are escaped.

    **Arguments:** the predictions, and `"table"`, `"csv"` or `"json"`. **Returns:** the text; a table or CSV has no
    lines for files that could not be read.
    """
    if style == "json":
        return json.dumps([_as_object(f) for f in found], indent=1)
    good = [f for f in found if f.error is None]
    if style == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "rank", "class", "probability"])
        for f in good:
            rows = enumerate(zip(f.classes, f.probabilities), start=1)
            writer.writerows([printable(f.file), rank, printable(c), f"{p:.6f}"] for rank, (c, p) in rows)
        return text.getvalue().rstrip("\n")
    width = max((len(printable(f.file)) for f in good), default=0)
    return "\n".join(
        f"{printable(f.file):{width}s}  "
        + "  ".join(f"{printable(c)} {100 * p:.1f}%" for c, p in zip(f.classes, f.probabilities))
        for f in good
    )


def _as_object(found: FilePrediction) -> dict[str, object]:
    if found.error is not None:
        return {"file": found.file, "error": found.error}
    # A list, because two classes may have one name.
    labels = found.labels or (None,) * len(found.classes)
    rows = zip(found.classes, labels, found.probabilities)
    return {"file": found.file, "classes": [{"class": c, "label": i, "probability": p} for c, i, p in rows]}
