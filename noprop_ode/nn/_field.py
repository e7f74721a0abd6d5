"""A backbone and a head make a field; the paper's two networks are fields of one backbone."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key, Latent, Logits, Scalar
from .._vector_field import AbstractSizedField, FieldSizes
from ._backbone import AbstractBackbone
from ._conv import ConvEncoder
from ._heads import AbstractHead, AbstractLabelBranch, BlockHead, ContinuousHead
from ._layers import LayerNorm


class BackboneField(AbstractSizedField):
    """Any backbone and a head as the field of a model: the backbone encodes the image, the head does the rest.

    With [`noprop_ode.nn.ContinuousHead`][], the default, it sees the time, for NoProp-CT and NoProp-FM;
    [`noprop_ode.nn.BackboneBlock`][] is the same for a block of NoProp-DT.
    """

    backbone: AbstractBackbone
    head: AbstractHead
    num_classes: int = eqx.field(static=True)
    label_dim: int = eqx.field(static=True)

    def __init__(
        self,
        backbone: AbstractBackbone,
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        head: Callable[..., AbstractHead] = ContinuousHead,
        key: Key,
    ):
        """**Arguments:**

        - `backbone`: from image to features.
        - `num_classes`: number of classes.
        - `label_dim`: dimension of the label embedding, the size of the state.
        - `width`: features of each branch of the head.
        - `head`: a head class, or a function like it, called as
            `head(feature_size, num_classes, label_dim, width=width, key=key)`; its other arguments are bound with
            `functools.partial`.
        - `key`: initialises the head.
        """
        self.backbone = backbone
        self.head = head(backbone.feature_size, num_classes, label_dim, width=width, key=key)
        self.num_classes = num_classes
        self.label_dim = label_dim

    @property
    def sizes(self) -> FieldSizes:
        features = jax.ShapeDtypeStruct((self.backbone.feature_size,), jnp.float32)
        return FieldSizes(self.label_dim, self.num_classes, features)

    def encode(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        features = self.backbone(x, key=key)
        if features.shape != (self.backbone.feature_size,):
            raise ValueError(
                f"{type(self.backbone).__name__} gives features of shape {list(features.shape)}, and says that there "
                f"are feature_size={self.backbone.feature_size}, for which the head was built."
            )
        return features

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        return self.head(t, z, features)


def BackboneBlock(
    backbone: AbstractBackbone,
    num_classes: int,
    label_dim: int,
    *,
    width: int = 256,
    head: Callable[..., AbstractHead] = BlockHead,
    key: Key,
) -> BackboneField:
    """Any backbone as a block of NoProp-DT: a [`noprop_ode.nn.BackboneField`][] with
    [`noprop_ode.nn.BlockHead`][], which does not use the time.

    **Arguments:** as for [`noprop_ode.nn.BackboneField`][].

    **Returns:** the field.
    """
    return BackboneField(backbone, num_classes, label_dim, width=width, head=head, key=key)


def ConvField(
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
) -> BackboneField:
    """The paper's network for continuous time and flow matching (its figure 6, embedding dimension not equal to
    pixels): [`noprop_ode.nn.ConvEncoder`][], ReLU, then [`noprop_ode.nn.ContinuousHead`][].

    **Arguments:**

    - `image_shape`: height, width and channels.
    - `num_classes`: number of classes.
    - `label_dim`: dimension of the label embedding, the size of the state.
    - `width`: features of each branch.
    - `time_size`: number of sinusoidal features of time, even.
    - `label`: the label branch, of `width` features: a linear layer by default;
        [`noprop_ode.nn.ConvLabelBranch`][] for embeddings that are images.
    - `dropout`, `mean`, `std`: as in [`noprop_ode.nn.ConvEncoder`][].
    - `key`: initialises the layers.

    **Returns:** the field.

    **Raises:** as [`noprop_ode.nn.ConvEncoder`][] and [`noprop_ode.nn.ContinuousHead`][].
    """
    encoder_key, head_key = jr.split(key)
    encoder = ConvEncoder(image_shape, size=width, dropout=dropout, mean=mean, std=std, final=jnn.relu, key=encoder_key)
    head = functools.partial(ContinuousHead, time_size=time_size, label=label)
    return BackboneField(encoder, num_classes, label_dim, width=width, head=head, key=head_key)


def ConvBlock(
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
) -> BackboneField:
    """The paper's network for one block in discrete time (its figure 6, embedding dimension not equal to pixels):
    [`noprop_ode.nn.ConvEncoder`][], normalisation, then [`noprop_ode.nn.BlockHead`][].

    **Arguments:** as for [`noprop_ode.nn.ConvField`][], without `time_size`.

    **Returns:** the field.

    **Raises:** as [`noprop_ode.nn.ConvEncoder`][] and [`noprop_ode.nn.BlockHead`][].
    """
    encoder_key, head_key = jr.split(key)
    encoder = ConvEncoder(
        image_shape, size=width, dropout=dropout, mean=mean, std=std, final=LayerNorm(width), key=encoder_key
    )
    head = functools.partial(BlockHead, label=label)
    return BackboneField(encoder, num_classes, label_dim, width=width, head=head, key=head_key)
