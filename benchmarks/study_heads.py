"""Other ways for the state and the time to enter a network, for the study of CT: a field `studied-cnn`.

    noprop-ode train cifar10_fast_ct --imports benchmarks/study_heads.py --trust-imports \
        --model.field studied-cnn --model.field.head film
"""

import functools
from typing import Literal

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import noprop_ode as no
from noprop_ode.experiment import Context, register


class SelfConditioned(no.nn.AbstractHead):
    """Self-conditioning (Chen, Zhang and Hinton, arXiv 2208.04202) at one state: the head runs twice, and the second
    time sees the probabilities that it gave at first, through which no gradient passes."""

    head: no.nn.ContinuousHead
    num_classes: int = eqx.field(static=True)

    def __init__(self, feature_size, num_classes, label_dim, *, width=256, key):
        self.head = no.nn.ContinuousHead(feature_size, num_classes, label_dim + num_classes, width=width, key=key)
        self.num_classes = num_classes

    def __call__(self, t, z, features):
        first = self.head(t, jnp.concatenate([z, jnp.zeros(self.num_classes, z.dtype)]), features)
        guess = jax.lax.stop_gradient(jnn.softmax(first)).astype(z.dtype)
        return self.head(t, jnp.concatenate([z, guess]), features)


class Modulated(no.nn.AbstractHead):
    """State and time scale and shift the features (FiLM; Perez et al., arXiv 1709.07871) instead of standing beside
    them. Unlike the head of the recipe, it gets the time as a number, and has the initial weights of Equinox."""

    label: eqx.nn.Linear
    time: eqx.nn.Linear
    modulation: eqx.nn.Linear
    layers: eqx.nn.MLP

    def __init__(self, feature_size, num_classes, label_dim, *, width=256, key):
        keys = jr.split(key, 4)
        self.label = eqx.nn.Linear(label_dim, width, key=keys[0])
        self.time = eqx.nn.Linear(1, width, key=keys[1])
        self.modulation = eqx.nn.Linear(2 * width, 2 * feature_size, key=keys[2])
        self.layers = eqx.nn.MLP(feature_size, num_classes, width, 2, key=keys[3])

    def __call__(self, t, z, features):
        joined = jnp.concatenate([jnn.relu(self.label(z)), jnn.relu(self.time(t[None].astype(z.dtype)))])
        scale, shift = jnp.split(self.modulation(joined), 2)
        return self.layers(features * (1 + scale) + shift)


class Timeless(no.nn.AbstractHead):
    """The head of the recipe, told always the same time: the state alone says how noisy it is."""

    head: no.nn.ContinuousHead

    def __init__(self, feature_size, num_classes, label_dim, *, width=256, key):
        self.head = no.nn.ContinuousHead(feature_size, num_classes, label_dim, width=width, key=key)

    def __call__(self, t, z, features):
        return self.head(jnp.zeros_like(t), z, features)


HEADS = {"film": Modulated, "self-conditioned": SelfConditioned, "timeless": Timeless}


@register("field", "studied-cnn")
def studied_cnn(
    context: Context,
    *,
    head: Literal["film", "self-conditioned", "timeless"] = "film",
    channels: tuple[int, ...] = (32, 64, 64),
):
    """The whitened network of the recipe with another head."""
    shape = context.data.image_shape
    images = np.zeros((1, *shape), np.uint8) if context.train is None else context.train.images[:5000]
    backbone_key, head_key = jr.split(context.key)
    backbone = no.nn.WhitenedCNN(shape, no.nn.whitening(images), widths=channels, norm_groups=1, key=backbone_key)
    make = functools.partial(no.nn.BackboneField, head=HEADS[head])
    return make(backbone, context.num_classes, context.label_dim, width=256, key=head_key)
