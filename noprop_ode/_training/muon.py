"""Muon for the matrices of the network, Adam for everything else."""

from typing import Any

import equinox as eqx
import jax
import optax
from jaxtyping import PyTree
from optax.contrib import MuonDimensionNumbers

from ..nn import Conv
from .partition import is_field


def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.95,
    nesterov: bool = True,
    b1: float = 0.9,
    b2: float = 0.999,
    size: float = 0.2,
) -> optax.GradientTransformation:
    r"""Muon: updates by the momentum of a weight matrix with all of its singular values brought close to one, by a few
    Newton-Schulz iterations (`optax.contrib.muon`).

    It applies to the weights of linear layers and convolutions, ours and Equinox's, in the vector field. A convolution
    kernel is a matrix from the pixels and channels under it to its outputs. Biases, normalisation, and everything
    around the network (readout, embedding, schedule) use Adam, without weight decay.

    The weights of each block are separate matrices, with or without [`noprop_ode.blockwise`][].

    ??? cite "References"

        Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024; Liu et al., *Muon is Scalable
        for LLM Training*, 2025 (arXiv 2502.16982), for the size of the update.

    **Arguments:**

    - `learning_rate`: a number, or a schedule; one that suits AdamW suits both parts.
    - `weight_decay`: decoupled weight decay, of the matrices only.
    - `momentum`: momentum of the matrices.
    - `nesterov`: use Nesterov momentum; Adam is then NAdam.
    - `b1`, `b2`: the decay rates of Adam's moments.
    - `size`: root mean square of an update of a matrix, before the learning rate. AdamW's are close to 0.2.

    **Returns:** an optax transformation for models, and for fields alone.

    **Raises:** `ValueError` for a momentum outside [0, 1), or a decay or a size out of range.
    """
    if not 0 <= momentum < 1 or not weight_decay >= 0 or not size > 0:
        raise ValueError(
            f"Expected momentum in [0, 1), weight_decay >= 0 and size > 0; got momentum={momentum}, "
            f"weight_decay={weight_decay}, size={size}."
        )
    inner = optax.contrib.muon(
        learning_rate,
        beta=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        adam_b1=b1,
        adam_b2=b2,
        consistent_rms=size,
        muon_weight_dimension_numbers=_matrices,
    )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        # It mixes dtypes by JAX's standard promotion rules, which a caller may have made strict.
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update)


def _is_layer(node: Any) -> bool:
    return isinstance(node, Conv | eqx.nn.Linear | eqx.nn.Conv)


def _matrices(params: PyTree[Any]) -> PyTree[MuonDimensionNumbers | None]:
    """Which axes of which arrays are a matrix; `None` for the arrays that Adam takes."""

    def of_field(node: Any) -> PyTree[Any]:
        return jax.tree.map(_of_layer, node, is_leaf=_is_layer) if is_field(node) else None

    return jax.tree.map(of_field, params, is_leaf=is_field)


def _of_layer(node: Any) -> PyTree[Any]:
    if not _is_layer(node):
        return None
    # Axes from the end: those before are stacked blocks, and each of them is a matrix of its own.
    if isinstance(node, Conv):
        matrix = MuonDimensionNumbers(reduction_axis=(-4, -3, -2), output_axis=-1)
    elif isinstance(node, eqx.nn.Conv):
        inputs = tuple(range(-1 - node.num_spatial_dims, 0))
        matrix = MuonDimensionNumbers(reduction_axis=inputs, output_axis=inputs[0] - 1)
    else:
        matrix = MuonDimensionNumbers(reduction_axis=-1, output_axis=-2)
    return jax.tree.map(lambda a: matrix if a is node.weight else None, node)
