"""What the plots share. Figures use Matplotlib's objects: pyplot, and with it the backend, is left to the caller."""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from ..._optional import need
from ..._training.files import write_file
from ..._types import AnyPath
from ._text import shortened


def new_figure(width: float, height: float) -> Any:
    """An empty figure, with its size in inches."""
    return need("matplotlib.figure", "A plot").Figure(figsize=(width, height), layout="constrained")


def plain(name: object, length: int = 24) -> str:
    """A name for a plot: shortened, and without a dollar sign that would begin a formula."""
    return shortened(name, length).replace("$", r"\$")


def tidy(axes: Iterable[Any]) -> None:
    """A light grid behind everything, and no frame on the sides without an axis."""
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)


def plain_ticks(axis: Any) -> None:
    """Plain numbers at the ticks of one axis of a plot, also a logarithmic one: 0.05 instead of 5 x 10^-2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        decades = np.log10(high / low) if 0 < low < high else 1.0
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))


def save(figure: Any, path: AnyPath) -> None:
    """Writes a figure atomically; the suffix chooses PNG or SVG. The same figure gives the same bytes.

    **Raises:** `RunError` for any failure of the file system.
    """
    import matplotlib

    content, path = io.BytesIO(), Path(path)
    kind = path.suffix.removeprefix(".") or "png"
    dated = {"metadata": {"Date": None}} if kind == "svg" else {}
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "noprop_ode"}):
        # A character that the font lacks is drawn as a box, and a crowded figure as well as possible.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(content, format=kind, dpi=140, **dated)
    write_file(path, content.getvalue())


def show_image(axis: Any, image: Shaped[np.ndarray, "..."], title: str = "") -> None:
    """Draws an image of any shape: three channels in colour, one in grey, the first three of four, the mean of any
    other number; one line of pixels is a strip.

    **Arguments:** the axis, the image as uint8 or floating point, and a title.
    """
    values = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    values = np.nan_to_num(values)
    if values.min() < 0 or values.max() > 1:  # normalised: from its darkest to its brightest
        values = (values - values.min()) / np.ptp(values)
    if values.ndim < 2:
        values = values.reshape(1, -1)
    if values.ndim > 3:
        values = values.reshape(values.shape[0], -1)
    if values.ndim == 3 and values.shape[-1] not in (3, 4):
        values = values.mean(axis=2)
    height, width = values.shape[:2]
    aspect = "equal" if 1 / 4 <= height / width <= 4 else "auto"
    if values.ndim == 2:
        axis.imshow(values, cmap="gray_r", vmin=0, vmax=1, aspect=aspect)
    else:
        axis.imshow(values[..., :3], aspect=aspect)
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])
