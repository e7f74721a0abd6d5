"""Checks of data on the host, before anything is traced."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._lazy import AbstractLazyImages


_GREATEST = 16.0  # no normalised image has larger pixels, and images of bytes not divided by 255 do


def check_images(xs: Any) -> None:
    """Refuses anything but a non-empty batch of uint8 or finite floating-point images.

    **Arguments:**

    - `xs`: images, `[n, ...]`, NumPy or JAX, or lazy images.

    **Raises:** `TypeError` for another dtype; `ValueError` for a missing batch axis, non-finite pixels, and
    floating-point pixels in 0..255, except in images of one pixel, which are table rows.
    """
    if not isinstance(xs, np.ndarray | AbstractLazyImages):
        xs = jnp.asarray(xs)
    if xs.ndim < 2 or 0 in xs.shape:
        raise ValueError(f"Expected a non-empty batch of images, [n, height, width, channels]; got shape {xs.shape}.")
    if isinstance(xs, AbstractLazyImages) or xs.dtype == np.uint8:
        return
    if not jnp.issubdtype(xs.dtype, jnp.floating):
        raise TypeError(
            f"Images are uint8 in [0, 255] or floating point in [0, 1]; got dtype {xs.dtype}. Convert with "
            "xs.astype('uint8') or xs.astype('float32') / 255, and pixels of 16 bits with / 65535."
        )
    # NumPy checks NumPy arrays, without a transfer to the device and back. A NaN pixel makes both values NaN.
    extremes = (xs.min(), xs.max()) if isinstance(xs, np.ndarray) else np.asarray(jnp.stack([xs.min(), xs.max()]))
    low, high = map(float, extremes)
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.asarray(jnp.isfinite(xs))
        bad = np.unique(np.argwhere(~finite)[:, 0])
        raise ValueError(
            f"Images must be finite; {len(bad)} of {len(xs)} have NaN or infinite pixels, the first at index {bad[0]}. "
            "Remove them or repair the pipeline that made them."
        )
    if xs.shape[1:3] != (1, 1) and low >= 0 and high > _GREATEST:  # images of one pixel are table rows of any scale
        raise ValueError(
            f"Floating-point images lie in [0, 1], or are normalised; got pixels from {low:g} to {high:g}. Divide "
            "them by 255, or cast with xs.astype('uint8'). Standardised images, some pixels below 0, may have any "
            "scale."
        )


def as_native(array: Any) -> Any:
    """A NumPy array as JAX takes it: in the byte order of the machine, and in double precision at most."""
    if not isinstance(array, np.ndarray) or (array.dtype.isnative and not is_extended(array.dtype)):
        return array
    return array.astype(np.float64 if is_extended(array.dtype) else array.dtype.newbyteorder("="))


def is_extended(dtype: np.dtype[Any]) -> bool:
    """Whether a floating-point type has more than double precision, as `np.longdouble` has on some systems."""
    return dtype.kind == "f" and dtype.itemsize > 8


def check_on_host(*trees: Any) -> None:
    """Refuses traced arrays in a function that loops on the host.

    **Raises:** `TypeError`.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees)):
        raise TypeError(
            "This goes through images in a loop on the host, and so not within jit, grad or vmap; there use "
            "noprop_ode.predict_one for each image."
        )


def check_labels(ys: Any, num_classes: int, num_images: int) -> None:
    """Refuses labels that are out of range or differ in number from the images.

    **Arguments:**

    - `ys`: labels, `[n]`, NumPy or JAX.
    - `num_classes`: number of classes of the model.
    - `num_images`: number of images they belong to.

    **Raises:** `TypeError` for labels that are not integers; `ValueError` for a wrong number or range.
    """
    ys = np.asarray(ys)
    if ys.shape != (num_images,):
        raise ValueError(
            f"Expected one label an image, shape ({num_images},); got shape {ys.shape}. Take ys.argmax(axis=1) of "
            "one-hot labels, and ys.reshape(-1) of a column of classes."
        )
    if not np.issubdtype(ys.dtype, np.integer):
        raise TypeError(
            f"Labels are integers, one class index an image; got dtype {ys.dtype}. Cast whole numbers with "
            "ys.astype('int32'); noprop_ode.data.from_arrays takes names of classes and numbers them."
        )
    if num_images and not (ys.min() >= 0 and ys.max() < num_classes):
        raise ValueError(
            f"Labels must lie in [0, {num_classes}), the classes; got labels from {ys.min()} to {ys.max()}. Map them "
            "to 0, 1, ..., leave images without a label out, or have more classes: num_classes of the model, "
            "class_names of the data set."
        )


def check_alive(tree: Any) -> None:
    """Refuses a model or a state that a later training step has consumed.

    **Raises:** `ValueError`.
    """
    arrays = (a for a in jax.tree.leaves(tree) if isinstance(a, jax.Array) and not isinstance(a, Tracer))
    if any(a.is_deleted() for a in arrays):
        raise ValueError(
            f"A later step of training has consumed this {type(tree).__name__}, and its arrays are gone. In the loop, "
            "keep noprop_ode.copied(state) of what should outlive the next step."
        )


def check_states_per_image(states_per_image: int) -> int:
    """**Raises:** `ValueError` for fewer than one."""
    if states_per_image < 1:
        raise ValueError(
            f"A step needs at least one noisy state of each label; got states_per_image={states_per_image}."
        )
    return states_per_image
