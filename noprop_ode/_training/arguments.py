"""Checks of the arguments of `fit`, before anything is traced or written."""

from typing import Any

import jax

from .._check import check_images, check_labels
from .._model import AbstractModel
from .._sizes import check_field
from .._wording import given
from .errors import SettingsError
from .parallel import Parallel


def check_layout(parallel: Parallel | None, model: AbstractModel, batch_size: int) -> None:
    """Refuses a layout that does not divide the batch or the blocks, or does not use every process."""
    if parallel is not None:
        parallel.check(model, batch_size)
    elif jax.process_count() > 1:
        raise ValueError(
            f"{jax.process_count()} processes with {jax.device_count()} devices train together by a layout; give one, "
            f"such as parallel=noprop_ode.Parallel(data={jax.device_count()}), which the command line calls "
            f"--parallel.data {jax.device_count()}."
        )


def check_arguments(
    splits: Any,
    model: AbstractModel,
    epochs: int,
    batch_size: int,
    seed: int,
    validate_every: int,
    patience: int | None,
    rollbacks: int,
    keep: int,
    steps_per_call: int,
) -> None:
    """Refuses arguments that cannot be trained on, before anything is traced or written."""
    for name in ("train", "validation"):
        if getattr(splits, name, ...) is ...:
            raise TypeError(
                f"splits must have the parts train and validation (None for none); got {given(splits)}. Make them of "
                "arrays by noprop_ode.data.from_arrays(images, labels)."
            )
    for name, value, least in (
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
        ("validate_every", validate_every, 1),
        ("patience", 1 if patience is None else patience, 1),
        ("rollbacks", rollbacks, 0),
        ("keep", keep, 1),
        ("steps_per_call", steps_per_call, 1),
    ):
        if value < least:
            raise SettingsError(f"{name} must be at least {least}; got {name}={value}.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"A seed lies in [0, 2^32): larger ones would repeat smaller ones. Got seed={seed}.")
    for part in (splits.train, splits.validation):
        if part is not None:
            check_images(part.images)
            check_labels(part.labels, model.embedding.num_classes, len(part.images))
    check_field(model.field, model.embedding, splits.train.images)
    if len(splits.train.labels) < batch_size:
        raise SettingsError(
            f"batch_size must be at most {len(splits.train.labels)}, the number of training images; got {batch_size}."
        )
    if splits.validation is None and patience is not None:
        raise ValueError("patience looks at validations; give a validation part, or leave it out.")
