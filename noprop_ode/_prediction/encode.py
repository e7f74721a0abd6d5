"""The features of many images, for use in several predictions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._check import check_alive, check_images
from .._model import AbstractModel
from .encode_batch import encode_batch
from .encoded import EncodedImages
from .in_batches import in_batches
from .views import viewed, views_of


def encode(
    model: AbstractModel, xs: Any, *, mirror: bool = False, shift: int = 0, batch_size: int = 500
) -> EncodedImages:
    """Runs the image branch on many images once, for use in several predictions.

    A prediction encodes each image once, whatever the number of steps and draws, but every further prediction of the
    same images encodes them again. Encoded images can replace images in [`noprop_ode.predict_log_proba`][],
    [`noprop_ode.predict`][] and [`noprop_ode.evaluate`][] with the same model, and give the same results.

    !!! example

        ```python
        images = noprop_ode.encode(model, test.images)
        for name, how in model.protocols.items():
            print(name, noprop_ode.evaluate(model, images, test.labels, key=key, prediction=how))
        ```

    **Arguments:**

    - `model`: the model. The features belong to its current weights, and mean nothing to another model.
    - `xs`: images, `[n, height, width, channels]`, as for `predict_log_proba`.
    - `mirror`: encode the mirror images too, for predictions with `mirror=True`.
    - `shift`: encode shifted images too, for predictions with this `shift`.
    - `batch_size`: images per call on each device.

    **Returns:** the encoded images, whose features stay in memory: 1 KiB per image for the paper's networks, and T
    times as much for T blocks.

    **Raises:** `ValueError` or `TypeError` for invalid images.
    """
    check_images(xs)
    check_alive(model)

    def run(model: AbstractModel, images: Any, first: Any) -> EncodedImages:
        del first
        kinds = views_of(mirror=mirror, shift=shift)
        return EncodedImages(tuple(encode_batch(model, viewed(images, kind)) for kind in kinds), kinds)

    found = [batch[:n] for n, batch in in_batches(run, model, xs, batch_size)]
    arrays, rest = zip(*(eqx.partition(batch, eqx.is_array) for batch in found))
    return eqx.combine(jax.tree.map(lambda *parts: jnp.concatenate(parts), *arrays), rest[0])
