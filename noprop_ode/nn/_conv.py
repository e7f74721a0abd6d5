"""The convolutions of the paper's network, for images and for states that are images."""

from collections.abc import Callable

import equinox as eqx
import jax.nn as jnn
import jax.random as jr
from jaxtyping import Array, Float

from .._numbers import number
from .._types import Image, Key, Latent
from ._backbone import AbstractBackbone
from ._heads import AbstractLabelBranch
from ._image import check_image_shape, to_float
from ._layers import Conv, Linear, dropout, max_pool


class ConvEncoder(AbstractBackbone):
    """The paper's image branch (its figure 6): three 3x3 convolutions of 32, 64 and 128 channels with two max-poolings,
    then a linear layer to 256 features.

    The paper leaves the scaling of pixels open: here they are scaled to [0, 1], then `(x - mean) / std`.
    """

    convs: tuple[Conv, Conv, Conv]
    linear: eqx.nn.Linear
    final: Callable[[Array], Array] | None
    feature_size: int = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    mean: float = eqx.field(static=True)
    std: float = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        size: int = 256,
        dropout: float = 0.2,
        mean: float = 0.0,
        std: float = 1.0,
        final: Callable[[Array], Array] | None = None,
        key: Key,
    ):
        """**Arguments:**

        - `image_shape`: height, width and channels; height and width at least 4.
        - `size`: number of features.
        - `dropout`: dropout rate after each stage, in training.
        - `mean`, `std`: mean and standard deviation of the pixels of the training set, on the [0, 1] scale.
        - `final`: applied to the features: a function such as `jax.nn.relu`, or a layer such as
            [`noprop_ode.nn.LayerNorm`][]; nothing by default.
        - `key`: initialises the layers.

        **Raises:** `ValueError` for an image too small for two poolings, or `dropout` or `std` out of range.
        """
        height, width, channels = image_shape
        if min(height, width) < 4 or channels < 1:
            raise ValueError(f"Two poolings need images of at least 4x4 pixels; got image_shape={image_shape}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"The dropout rate must lie in [0, 1); got {dropout}.")
        if not std > 0:
            raise ValueError(f"The standard deviation of the pixels must be positive; got {std}.")
        keys = jr.split(key, 4)
        self.convs = (
            Conv(channels, 32, key=keys[0]),
            Conv(32, 64, key=keys[1]),
            Conv(64, 128, key=keys[2]),
        )
        self.linear = Linear((height // 2 // 2) * (width // 2 // 2) * 128, size, key=keys[3])
        self.final = final
        self.feature_size = size
        self.image_shape = image_shape
        self.dropout = number(dropout)
        self.mean = number(mean)
        self.std = number(std)

    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        check_image_shape(x, self.image_shape)
        keys = (None, None, None) if key is None else jr.split(key, 3)
        h = (to_float(x) - self.mean) / self.std
        h = dropout(max_pool(jnn.relu(self.convs[0](h))), self.dropout, keys[0])
        h = dropout(jnn.relu(self.convs[1](h)), self.dropout, keys[1])
        h = dropout(max_pool(jnn.relu(self.convs[2](h))), self.dropout, keys[2])
        features = self.linear(h.reshape(-1))
        return features if self.final is None else self.final(features)


class ConvLabelBranch(AbstractLabelBranch):
    """The paper's label branch for prototype embeddings (its figure 6, embedding dimension equal to pixels): the state
    is an image, and enters through the convolutions of [`noprop_ode.nn.ConvEncoder`][].

    It has no dropout, because the state is noisy as it is, and pixels are not scaled. [`noprop_ode.nn.BlockHead`][]
    passes it through the norms and the residual block that it has for every embedding; in the paper's figure, a block
    for prototypes has only a norm there.
    """

    encoder: ConvEncoder

    def __init__(self, image_shape: tuple[int, int, int], *, size: int = 256, key: Key):
        """**Arguments:**

        - `image_shape`: height, width and channels of the state, which has as many entries.
        - `size`: number of features.
        - `key`: initialises the layers.

        **Raises:** as [`noprop_ode.nn.ConvEncoder`][].
        """
        self.encoder = ConvEncoder(image_shape, size=size, dropout=0.0, key=key)

    def __call__(self, z: Latent) -> Float[Array, " size"]:
        return self.encoder(z.reshape(self.encoder.image_shape))
