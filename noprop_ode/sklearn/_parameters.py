"""The parameters of a classifier, checked when it is fitted."""

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from .._choices import Prediction
from ._build import VARIANTS, Recipe


def recipe_of(parameters: dict[str, Any]) -> Recipe:
    """The recipe of a classifier from its parameters, all of which are checked.

    **Arguments:** `parameters`, from `get_params`.

    **Returns:** the recipe.

    **Raises:** `ValueError` or `TypeError` naming the parameter, what it must be and what it is.
    """
    if parameters["variant"] not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(map(repr, VARIANTS))}; got {parameters['variant']!r}.")
    _check_network(parameters["network"])
    if parameters["prediction"] is not None and not isinstance(parameters["prediction"], Prediction):
        raise TypeError(f"prediction must be a noprop_ode.Prediction, or None; got {parameters['prediction']!r}.")
    for name in ("epochs", "batch_size", "num_blocks"):
        _whole(name, parameters[name])
    if parameters["patience"] is not None:
        _whole("patience", parameters["patience"])
        if parameters["validation_fraction"] == 0:
            raise ValueError("patience looks at validations: give a validation_fraction, or leave it out.")
    _real("learning_rate", parameters["learning_rate"], lambda v: v > 0, "positive")
    _real("weight_decay", parameters["weight_decay"], lambda v: v >= 0, "zero or more")
    _real("validation_fraction", parameters["validation_fraction"], lambda v: 0 <= v < 1, "in [0, 1)")
    sizes = parameters["hidden_sizes"]
    if not isinstance(sizes, tuple | list | np.ndarray) or len(sizes) == 0:
        raise ValueError(f"hidden_sizes must be at least one number of units, such as (256,); got {sizes!r}.")
    for size in sizes:
        _whole("hidden_sizes", size, least=2)
    return Recipe(
        variant=parameters["variant"],
        network=parameters["network"],
        hidden_sizes=tuple(int(size) for size in sizes),
        num_blocks=int(parameters["num_blocks"]),
        learning_rate=float(parameters["learning_rate"]),
        weight_decay=float(parameters["weight_decay"]),
    )


def _check_network(value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(
            f"network must be a function network(image_shape, num_classes, label_dim, key=key), or None; got {value!r}."
        )


def _whole(name: str, value: Any, *, least: int = 1) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def _real(name: str, value: Any, holds: Callable[[float], bool], what: str) -> None:
    number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or not holds(number):
        raise ValueError(f"{name} must be {what}; got {value!r}.")
