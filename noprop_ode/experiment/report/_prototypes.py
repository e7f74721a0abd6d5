"""Prototype embeddings as images."""

import numpy as np
from jaxtyping import Float

from ..._types import AnyPath
from . import _canvas


def plot_prototypes(path: AnyPath, images: Float[np.ndarray, "classes ..."], class_names: tuple[str, ...]) -> None:
    """Embeddings that are images, one per class.

    **Arguments:** the image file to write, the embeddings, and the names of the classes.
    """
    columns = min(10, len(images))
    rows = -(-len(images) // columns)
    figure = _canvas.new_figure(1.25 * columns, 1.45 * rows + 0.3)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, name in zip(axes.flat, images, class_names):
        _canvas.show_image(axis, image, _canvas.plain(name, 14))
    figure.suptitle("prototypes of the classes", fontsize=11)
    _canvas.save(figure, path)
