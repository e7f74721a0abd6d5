"""Whether the parts of a model fit together: the inputs and outputs of its field, the embedding and the readout."""

import contextlib
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._labels.embedding import AbstractLabelEmbedding
from ._labels.readout import AbstractReadout
from ._types import Features, Latent, Logits, Scalar
from ._vector_field import AbstractSizedField, AbstractVectorField
from ._wording import given


class SizeError(ValueError):
    """The parts of a model do not fit together."""


def check_parts(field: AbstractVectorField, embedding: AbstractLabelEmbedding, readout: AbstractReadout) -> None:
    """Refuses parts of a model that do not fit together, as far as that is known before the first image.

    **Raises:** `ValueError`, saying which sizes differ.
    """
    classes, dim = embedding.num_classes, embedding.dim
    z = jax.ShapeDtypeStruct((dim,), jnp.float32)
    try:
        log_ps = eqx.filter_eval_shape(readout, z, embedding)
    except (TypeError, ValueError) as error:
        raise SizeError(
            f"{type(readout).__name__} cannot be evaluated on a state of dimension {dim}, that of the embedding. Build "
            f"the readout for a state of dimension {dim} and {classes} classes. ({str(error).strip()[:200]})"
        ) from error
    if log_ps.shape != (classes,):
        raise SizeError(
            f"The readout gives log-probabilities of shape {_shown(log_ps.shape)}, but the embedding has {classes} "
            f"classes. Build the readout with num_classes={classes}."
        )
    sizes = field.sizes if isinstance(field, AbstractSizedField) else None
    if sizes is None:
        return
    if sizes.label_dim != dim:
        raise SizeError(
            f"The field takes a state of dimension {sizes.label_dim}, but the embedding has dimension {dim}. Build the "
            f"field with label_dim={dim}, or choose an embedding of dimension {sizes.label_dim}."
        )
    if sizes.num_classes != classes:
        raise SizeError(
            f"The field has {sizes.num_classes} classes, but the embedding has {classes}. Build the field with "
            f"num_classes={classes}, or the embedding with {sizes.num_classes} classes."
        )
    t = jax.ShapeDtypeStruct((), jnp.float32)
    with told_here():
        eqx.filter_eval_shape(class_logits, field, t, z, sizes.features, embedding)


def check_field(field: AbstractVectorField, embedding: AbstractLabelEmbedding, images: Any) -> None:
    """Refuses a field that does not fit the embedding, given images; one that knows its sizes was already checked when
    the model was built. The field is traced, not run.

    **Arguments:** field, embedding, and images `[n, ...]`, NumPy or JAX.

    **Raises:** `ValueError`, and what the field itself raises.
    """
    if isinstance(field, AbstractSizedField) and field.sizes is not None:
        return

    def evaluated(field: AbstractVectorField, embedding: AbstractLabelEmbedding, x: jax.Array, t: Scalar, z: Latent):
        return class_logits(field, t, z, field.encode(x), embedding)

    t, z = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((), (embedding.dim,)))
    x = jax.ShapeDtypeStruct(images.shape[1:], jnp.asarray(images[:1]).dtype)
    with told_here():
        eqx.filter_eval_shape(evaluated, field, embedding, x, t, z)


@contextlib.contextmanager
def told_here() -> Iterator[None]:
    """Raises a `SizeError` from here, without the traceback of the functions in which it was found."""
    try:
        yield
    except SizeError as error:
        raise SizeError(*error.args) from None


def class_logits(
    field: AbstractVectorField, t: Scalar, z: Latent, features: Features, embedding: AbstractLabelEmbedding
) -> Logits:
    """The logits of a field, one for each class of the embedding.

    **Arguments:** the field and what it is called with, and the embedding of its model. **Returns:** shape `[classes]`,
    at least float32: losses and probabilities are not computed in the dtype of the network.

    **Raises:** `ValueError` for another shape. An error of the field itself gets a note about the state it was given.
    """
    try:
        logits = field(t, z, features)
    except (TypeError, ValueError) as error:
        error.add_note(
            f"{type(field).__name__} was evaluated on a state of shape {_shown(z.shape)}: the dimension of the label "
            f"embedding, {type(embedding).__name__}, for which a field is to be built (label_dim)."
        )
        raise
    if not isinstance(logits, jax.Array) or logits.shape != (embedding.num_classes,):
        found = f"logits of shape {_shown(logits.shape)}" if isinstance(logits, jax.Array) else given(logits)
        raise SizeError(
            f"{type(field).__name__} gives {found}, but the embedding has "
            f"{embedding.num_classes} classes. It must give one logit for each, shape [{embedding.num_classes}]."
        )
    return logits.astype(jnp.float32) if logits.dtype.itemsize < 4 else logits


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
