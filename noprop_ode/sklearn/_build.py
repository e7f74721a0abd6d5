"""From parameters to a model and an optimiser."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import optax

from .._blocks import Blocks
from .._labels.embedding import OneHot
from .._model import AbstractModel
from .._objectives.objective import CrossEntropy
from .._objectives.times import PowerTimes
from .._types import Key
from .._variants.ct import NoPropCT
from .._variants.dt import NoPropDT
from .._variants.fm import NoPropFM
from .._vector_field import AbstractVectorField
from ._networks import default_field
from ._optimiser import adamw


class Recipe(NamedTuple):
    """What a model and its optimiser are built from: checked parameters of a classifier, under the same names."""

    variant: str
    network: Callable[..., AbstractVectorField] | None
    hidden_sizes: tuple[int, ...]
    num_blocks: int
    learning_rate: float
    weight_decay: float


def _continuous(network: Callable[..., AbstractVectorField], recipe: Recipe, num_classes: int, key: Key):
    return NoPropCT(network(key), embedding=OneHot(num_classes), objective=CrossEntropy(), times=PowerTimes(3.0))


def _flow(network: Callable[..., AbstractVectorField], recipe: Recipe, num_classes: int, key: Key):
    return NoPropFM(network(key), embedding=OneHot(num_classes), states_per_image=8)


def _discrete(network: Callable[..., AbstractVectorField], recipe: Recipe, num_classes: int, key: Key):
    blocks = Blocks(functools.partial(network, block=True), recipe.num_blocks, key=key)
    return NoPropDT(blocks, embedding=OneHot(num_classes), objective=CrossEntropy(), eta=1.0)


VARIANTS: dict[str, Callable[..., AbstractModel]] = {"ct": _continuous, "fm": _flow, "dt": _discrete}


def build_model(recipe: Recipe, image_shape: tuple[int, int, int], num_classes: int, *, key: Key) -> AbstractModel:
    """The untrained model.

    **Arguments:**

    - `recipe`: what to build.
    - `image_shape`: height, width and channels.
    - `num_classes`: number of classes, at least 2.
    - `key`: initialises the network.

    **Returns:** the model.

    **Raises:** `TypeError` if the user's network is not a vector field.
    """

    def network(key: Key, block: bool = False) -> AbstractVectorField:
        if recipe.network is None:
            return default_field(
                image_shape, num_classes, num_classes, hidden_sizes=recipe.hidden_sizes, block=block, key=key
            )
        field = recipe.network(image_shape, num_classes, num_classes, key=key)
        if not isinstance(field, AbstractVectorField):
            raise TypeError(
                "network(image_shape, num_classes, label_dim, key=key) must return a noprop_ode.AbstractVectorField; "
                f"got {type(field).__name__}."
            )
        return field

    return VARIANTS[recipe.variant](network, recipe, num_classes, key)


def optimiser_of(recipe: Recipe, model: AbstractModel) -> optax.GradientTransformation:
    """The optimiser of a model: AdamW, applied to each block separately if they train independently."""
    return adamw(recipe.learning_rate, recipe.weight_decay, by_block=model.independent_blocks is not None)
