"""The network of a classifier, as the dynamics see it."""

import abc
from typing import NamedTuple

import equinox as eqx

from ._types import Features, Image, Key, Latent, Logits, Scalar


class AbstractVectorField(eqx.Module):
    """The network of a NoProp classifier, in two methods.

    `encode` turns the image into features once; the call, given those features, is what a solver evaluates at every
    step. Keeping the image out of the call is what makes inference cheap: a convolution is never repeated.

    For your own network, write a subclass with these two methods; see [`noprop_ode.nn.MLPField`][] for a short one.
    """

    @abc.abstractmethod
    def encode(self, x: Image, *, key: Key | None = None) -> Features:
        """The features of an image: everything that does not depend on time and state.

        **Arguments:**

        - `x`: one image, `[height, width, channels]`; uint8 in [0, 255] or floating point in [0, 1].
        - `key`: randomness for dropout during training; `None` at inference, which switches dropout off.

        **Returns:** a PyTree of arrays, in whatever form the call expects.
        """

    @abc.abstractmethod
    def __call__(self, t: Scalar, z: Latent, features: Features) -> Logits:
        """The class logits of the field, from which a variant makes its prediction of the label embedding.

        **Arguments:**

        - `t`: time in [0, 1].
        - `z`: the state, shape `[dim]`.
        - `features`: what `encode` returned.

        **Returns:** logits, shape `[classes]`.
        """


class FieldSizes(NamedTuple):
    """The sizes that a field knows before it has seen an image: the dimension of the state (`label_dim`), the number of
    logits (`num_classes`), and what `encode` returns (`features`: a PyTree of `jax.ShapeDtypeStruct`)."""

    label_dim: int
    num_classes: int
    features: Features


class AbstractSizedField(AbstractVectorField):
    """A field that knows its sizes before it has seen an image, so that a model it does not fit is refused when it is
    built, not at its first step."""

    @property
    @abc.abstractmethod
    def sizes(self) -> FieldSizes | None:
        """The sizes of inputs and outputs; `None` for a wrapper of a field that does not know them."""
