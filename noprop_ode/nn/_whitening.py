"""A fixed first layer whose outputs are uncorrelated over the patches of the training images."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._freezable import AbstractFreezable
from .._types import Images


class Whitening(AbstractFreezable):
    r"""A convolution whose outputs have zero mean and no correlation over the patches of some images, followed by the
    same outputs negated, so that a nonlinearity keeps both halves. Made by [`noprop_ode.nn.whitening`][].

    It is never trained, and so never decayed either.
    """

    weight: Float[Array, "size size in_channels components"]
    bias: Float[Array, " components"]
    trainable: ClassVar[bool] = False  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def out_channels(self) -> int:
        """Two for each component of a patch."""
        return 2 * self.weight.shape[-1]

    def __call__(
        self, x: Float[Array, "height width in_channels"]
    ) -> Float[Array, "new_height new_width out_channels"]:
        """**Arguments:** `x`, pixels in [0, 1]. **Returns:** one output for each patch inside the image: with 2x2
        patches, height and width are one smaller. First the components, then the same negated."""
        weight, bias = jax.lax.stop_gradient((self.weight, self.bias))
        dimensions = ("NHWC", "HWIO", "NHWC")
        x = x.astype(weight.dtype)[None]
        # Weights of about a hundred, whose products nearly cancel: not in the few bits that are usual on accelerators.
        h = jax.lax.conv_general_dilated(
            x, weight, (1, 1), "VALID", dimension_numbers=dimensions, precision=jax.lax.Precision.HIGHEST
        )[0]
        h = h + bias[None, None]
        return jnp.concatenate([h, -h], axis=-1)


def whitening(images: Images, *, size: int = 2, epsilon: float = 5e-4) -> Whitening:
    r"""The layer that whitens the patches of some images.

    With mean $\mu$ and covariance $C = V \Lambda V^\top$ of all patches $p$, its outputs are
    $\pm (\Lambda + \varepsilon \bar\lambda I)^{-1/2} V^\top (p - \mu)$, where $\bar\lambda$ is the mean of the
    eigenvalues; each eigenvector has the sign that makes its largest entry positive.

    ??? cite "Reference"

        Jordan, *94% on CIFAR-10 in 3.29 Seconds on a Single GPU*, 2024 (arXiv 2404.00498), section 3.2, where the mean
        is not subtracted.

    **Arguments:**

    - `images`: training images, `[n, height, width, channels]`; uint8 in [0, 255] or floating point in [0, 1]. A few
        thousand are enough.
    - `size`: side of a patch, in pixels.
    - `epsilon`: limits how much directions in which patches hardly vary are amplified, as a share of the mean
        variance.

    **Returns:** the layer, which has `2 * size**2 * channels` outputs.

    **Raises:** `ValueError` for images smaller than a patch or an `epsilon` that is not positive, `TypeError` for
    another dtype.
    """
    if images.ndim != 4 or min(images.shape) < 1 or min(images.shape[1:3]) < size or size < 1:
        raise ValueError(
            f"Expected images of shape [n, height, width, channels], with at least {size}x{size} pixels; got shape "
            f"{images.shape}."
        )
    if not epsilon > 0:
        raise ValueError(f"Expected epsilon > 0; got {epsilon}.")
    length = size**2 * images.shape[-1]
    count, total, products = 0, np.zeros(length), np.zeros((length, length))
    for start in range(0, len(images), 1000):  # the patches of all images at once may not fit into memory
        batch = _pixels(images[start : start + 1000])
        windows = np.lib.stride_tricks.sliding_window_view(batch, (size, size), axis=(1, 2))
        patches = np.moveaxis(windows, 3, 5).reshape(-1, length)
        count, total, products = count + len(patches), total + patches.sum(0), products + patches.T @ patches
    mean = total / count
    variances, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
    # The sign of an eigenvector is arbitrary, and linear algebra libraries differ in theirs.
    directions *= np.where(np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0) < 0, -1.0, 1.0)
    # Constant images have no variance at all; 1e-8 is far below the rounding of a byte.
    floor = epsilon * max(variances.mean(), 1e-8)
    matrix = directions / np.sqrt(np.maximum(variances, 0) + floor)
    weight = matrix[:, ::-1].reshape(size, size, images.shape[-1], length)  # most variance first
    bias = -mean @ matrix[:, ::-1]
    return Whitening(weight=jnp.asarray(weight, jnp.float32), bias=jnp.asarray(bias, jnp.float32))


def _pixels(images: Images) -> Float[np.ndarray, "n height width channels"]:
    # In NumPy, so that a network can be built inside `jax.eval_shape` and `vmap`.
    images = np.asarray(images)
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"Images are uint8 in [0, 255] or floating point in [0, 1]; got dtype {images.dtype}.")
    return images.astype(np.float64) / (255 if images.dtype == np.uint8 else 1)
