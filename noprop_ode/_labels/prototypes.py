"""Training images as embeddings."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Shaped

from .._check import check_images, check_labels
from .embedding import AbstractMatrixEmbedding


class PrototypeEmbedding(AbstractMatrixEmbedding):
    """Embeddings in pixel space that start as one training image of each class; see [`noprop_ode.prototypes`][].

    The state of the model is then itself an image, so that a convolutional branch can process it.
    """

    matrix: Float[Array, "classes dim"]
    num_classes: int
    dim: int
    trainable: bool = eqx.field(static=True)

    def __init__(self, images: Float[Array, "classes *image"], *, trainable: bool = True):
        """**Arguments:**

        - `images`: one image per class, floating point.
        - `trainable`: whether the optimiser may change the embeddings.

        **Raises:** `ValueError` for fewer than 2 classes.
        """
        if len(images) < 2:
            raise ValueError(f"A classifier needs at least 2 classes; got {len(images)} prototypes.")
        self.matrix = images.reshape(len(images), -1).astype(jnp.float32)
        self.num_classes, self.dim = self.matrix.shape
        self.trainable = trainable


def prototypes(
    images: Shaped[np.ndarray, "n *image"],
    labels: Integer[np.ndarray, " n"],
    num_classes: int,
    *,
    chunk: int = 512,
) -> Float[Array, "classes *image"]:
    """For each class, the image whose median distance to the other images of its class is smallest (NoProp, section 4).

    **Arguments:**

    - `images`: training images; uint8 in [0, 255], scaled to [0, 1] here, or floating point.
    - `labels`: their classes, `[n]`.
    - `num_classes`: number of classes.
    - `chunk`: rows of the distance matrix held in memory at once.

    **Returns:** one image per class, float32.

    **Raises:** `ValueError` if a class has no image, or for a `chunk` of no rows, and `ValueError` or `TypeError` for
    invalid images or labels.
    """
    check_images(images)
    check_labels(labels, num_classes, len(images))
    if chunk < 1:
        raise ValueError(f"At least one row of the distance matrix is computed at a time; got chunk={chunk}.")
    chosen = []
    for c in range(num_classes):
        members = images[labels == c]
        if len(members) == 0:
            raise ValueError(f"Class {c} has no training image to be its prototype; every class needs one.")
        scale = 255.0 if members.dtype == np.uint8 else 1.0
        flat = members.reshape(len(members), -1).astype(np.float32) / scale
        norms = np.einsum("nd,nd->n", flat, flat)
        medians = [_medians(flat, norms, first, chunk) for first in range(0, len(flat), chunk)]
        chosen.append(flat[np.argmin(np.concatenate(medians))].reshape(images.shape[1:]))
    return jnp.asarray(np.stack(chosen))


def _medians(
    flat: Float[np.ndarray, "n pixels"], norms: Float[np.ndarray, " n"], first: int, chunk: int
) -> Float[np.ndarray, " rows"]:
    """The median distance from each of the `chunk` images from `first` on to all others."""
    rows = flat[first : first + chunk]
    squares = norms[first : first + chunk, None] - 2 * rows @ flat.T + norms[None]
    if len(flat) == 1:
        return squares[0]
    others = np.arange(len(flat)) != first + np.arange(len(rows))[:, None]
    # Not the root of the median square: for an even count the median is a mean, which does not commute with the root.
    return np.median(np.sqrt(np.maximum(squares[others], 0)).reshape(len(rows), -1), axis=1)
