import equinox as eqx
import jax.nn as jnn
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key, Latent, Logits, Scalar
from .._vector_field import AbstractVectorField
from ._heads import AbstractLabelBranch, BlockHead, ContinuousHead
from ._layers import Conv, LayerNorm, Linear, check_image_shape, dropout, max_pool, to_float


class ConvEncoder(eqx.Module):
    """The paper's image branch (its figure 6): three 3x3 convolutions of 32, 64 and 128 channels with two max-poolings,
    then a linear layer to 256 features.

    The paper leaves the scaling of pixels open: they are brought to [0, 1], then `(x - mean) / std`.
    """

    convs: tuple[Conv, Conv, Conv]
    linear: Linear
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
        key: Key,
    ):
        """**Arguments:**

        - `image_shape`: height, width and channels; height and width at least 4.
        - `size`: number of features.
        - `dropout`: rate after each stage, in training.
        - `mean`, `std`: of the pixels of the training set, on the [0, 1] scale.
        - `key`: initialises the layers.

        **Raises:** `ValueError` for an image too small for two poolings, or a rate or deviation out of range.
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
        self.image_shape = image_shape
        self.dropout = dropout
        self.mean = mean
        self.std = std

    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " size"]:
        """**Arguments:** an image, and randomness for dropout (`None`: off). **Returns:** features, `[size]`."""
        check_image_shape(x, self.image_shape)
        keys = (None, None, None) if key is None else jr.split(key, 3)
        h = (to_float(x) - self.mean) / self.std
        h = dropout(max_pool(jnn.relu(self.convs[0](h))), self.dropout, keys[0])
        h = dropout(jnn.relu(self.convs[1](h)), self.dropout, keys[1])
        h = dropout(max_pool(jnn.relu(self.convs[2](h))), self.dropout, keys[2])
        return self.linear(h.reshape(-1))


class ConvLabelBranch(AbstractLabelBranch):
    """The paper's label branch for prototype embeddings (its figure 6, embedding dimension of the pixels): the state is
    an image, and enters through the convolutions of [`noprop_ode.nn.ConvEncoder`][], without dropout."""

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
        """See [`noprop_ode.nn.AbstractLabelBranch.__call__`][]."""
        return self.encoder(z.reshape(self.encoder.image_shape))


class ConvField(AbstractVectorField):
    """The paper's network for continuous time and flow matching (its figure 6, embedding dimension other than pixels):
    [`noprop_ode.nn.ConvEncoder`][], ReLU, then [`noprop_ode.nn.ContinuousHead`][]."""

    encoder: ConvEncoder
    head: ContinuousHead

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        time_size: int = 64,
        dropout: float = 0.2,
        mean: float = 0.0,
        std: float = 1.0,
        label: AbstractLabelBranch | None = None,
        key: Key,
    ):
        """**Arguments:**

        - `image_shape`: height, width and channels.
        - `num_classes`: number of classes.
        - `label_dim`: dimension of the label embedding, the size of the state.
        - `width`: features of each branch.
        - `time_size`: number of sinusoidal features of time, even.
        - `label`: the label branch, of `width` features: a linear layer by default;
            [`noprop_ode.nn.ConvLabelBranch`][] for embeddings that are images.
        - `dropout`, `mean`, `std`: as in [`noprop_ode.nn.ConvEncoder`][].
        - `key`: initialises the layers.
        """
        encoder_key, head_key = jr.split(key)
        self.encoder = ConvEncoder(image_shape, size=width, dropout=dropout, mean=mean, std=std, key=encoder_key)
        self.head = ContinuousHead(
            width, num_classes, label_dim, width=width, time_size=time_size, label=label, key=head_key
        )

    def encode(self, x: Image, *, key: Key | None = None) -> Float[Array, " width"]:
        """See [`noprop_ode.AbstractVectorField.encode`][]; features of shape `[width]`."""
        return jnn.relu(self.encoder(x, key=key))

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " width"]) -> Logits:
        """See [`noprop_ode.AbstractVectorField.__call__`][]."""
        return self.head(t, z, features)


class ConvBlock(AbstractVectorField):
    """The paper's network for one block in discrete time (its figure 6, embedding dimension other than pixels):
    [`noprop_ode.nn.ConvEncoder`][], normalisation, then [`noprop_ode.nn.BlockHead`][]."""

    encoder: ConvEncoder
    norm: LayerNorm
    head: BlockHead

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        dropout: float = 0.2,
        mean: float = 0.0,
        std: float = 1.0,
        label: AbstractLabelBranch | None = None,
        key: Key,
    ):
        """**Arguments:** as for [`noprop_ode.nn.ConvField`][], without the time."""
        encoder_key, head_key = jr.split(key)
        self.encoder = ConvEncoder(image_shape, size=width, dropout=dropout, mean=mean, std=std, key=encoder_key)
        self.norm = LayerNorm(width)
        self.head = BlockHead(width, num_classes, label_dim, width=width, label=label, key=head_key)

    def encode(self, x: Image, *, key: Key | None = None) -> Float[Array, " width"]:
        """See [`noprop_ode.AbstractVectorField.encode`][]; features of shape `[width]`."""
        return self.norm(self.encoder(x, key=key))

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " width"]) -> Logits:
        """See [`noprop_ode.AbstractVectorField.__call__`][]; the time is not used."""
        return self.head(z, features)
