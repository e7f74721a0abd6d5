import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from .. import AbstractModel, predict_log_proba
from ._build import build_prediction
from ._config import Config
from ._context import DataSpec
from ._errors import RunError
from ._run import evaluation_key


class FilePrediction(NamedTuple):
    """The likeliest classes of one image file, with their probabilities."""

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def classify_files(
    model: AbstractModel, config: Config, spec: DataSpec, paths: Sequence[Path], *, top: int = 3
) -> list[FilePrediction]:
    """Classifies image files as the configuration predicts.

    **Arguments:**

    - `model`, `config`, `spec`: from [`noprop_ode.experiment.load_model`][].
    - `paths`: PNG or JPEG files, or folders of them.
    - `top`: how many classes to give for each.

    **Returns:** one prediction a file.

    **Raises:** `RunError` for a path that is no image, or no image at all.
    """
    if top < 1:
        raise RunError(f"Expected at least one class to show; got top={top}.")
    files = [file for path in paths for file in _expand(path)]
    images = np.stack([_read(file, spec.image_shape) for file in files])
    how: dict[str, Any] = {"prediction": build_prediction(config, model, spec)}
    ps = np.exp(np.asarray(predict_log_proba(model, images, key=evaluation_key(config), **how)))
    found = []
    for file, p in zip(files, ps):
        order = np.argsort(-p)[:top]
        found.append(
            FilePrediction(str(file), tuple(spec.class_names[i] for i in order), tuple(float(p[i]) for i in order))
        )
    return found


def format_predictions(found: Sequence[FilePrediction], style: Literal["table", "csv", "json"]) -> str:
    """Predictions as text.

    **Arguments:** the predictions, and `"table"`, `"csv"` or `"json"`. **Returns:** the text.
    """
    if style == "json":
        return json.dumps([{"file": f.file, "classes": dict(zip(f.classes, f.probabilities))} for f in found], indent=1)
    if style == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "rank", "class", "probability"])
        for f in found:
            writer.writerows([f.file, i + 1, c, f"{p:.6f}"] for i, (c, p) in enumerate(zip(f.classes, f.probabilities)))
        return text.getvalue().rstrip("\n")
    width = max(len(f.file) for f in found)
    return "\n".join(
        f"{f.file:{width}s}  " + "  ".join(f"{c} {100 * p:.1f}%" for c, p in zip(f.classes, f.probabilities))
        for f in found
    )


_SUFFIXES = (".png", ".jpg", ".jpeg")


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not files:
            raise RunError(f"There is no PNG or JPEG file in {path}.")
        return files
    if not path.exists():
        raise RunError(f"There is no file {path}.")
    return [path]


def _read(path: Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    height, width, channels = shape
    try:
        with Image.open(path) as image:
            # Cameras store how they were held beside the pixels.
            converted = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            if converted.size != (width, height):
                converted = converted.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(converted, np.uint8).reshape(shape)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(f"{path} is not an image that can be read: {error}") from error
