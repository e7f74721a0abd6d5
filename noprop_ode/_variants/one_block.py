"""A block that trains as a separate job, and the model assembled from such blocks."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from .._block_model import AbstractBlockModel, batch_keys
from .._blocks import Blocks
from .._choices import Prediction
from .._labels.embedding import AbstractLabelEmbedding
from .._labels.readout import AbstractReadout
from .._model import AbstractModel, LossTerms, name_of
from .._trainable import trainable_mask
from .._types import Features, Image, Images, Key, Label, Labels, Latent, LogProbs, Scalar
from .._vector_field import AbstractVectorField
from .protocols import one_euler_step


class OneBlock(AbstractModel):
    """One block of a model of T, with everything it needs to train on its own, on any machine and at any time.

    Nothing passes between blocks in training: with the same data, seed and optimiser, a block that trains alone
    arrives, up to rounding, at the same weights as beside all others. [`noprop_ode.join_blocks`][] assembles the model
    from T such blocks. Each of them also trains the readout, which is small, in the same way.

    !!! example

        ```python
        part = noprop_ode.OneBlock(model, 3)
        result = noprop_ode.fit(part, splits, optimiser=optax.adamw(1e-3), epochs=10, folder="runs/block-3")
        ```

    As a classifier, it gives this block's p(y | x) at the mean of all states: its logits at z = 0.
    """

    field: Blocks  # pyright: ignore[reportIncompatibleVariableOverride]
    rest: AbstractBlockModel
    k: int = eqx.field(static=True)

    def __init__(self, model: AbstractBlockModel, k: int):
        """**Arguments:**

        - `model`: a model of T blocks, all of which take part in a step.
        - `k`: the position of the block, 0 to T - 1.

        **Raises:** `ValueError` for a position out of range, and `TypeError` for a model whose blocks share something
        that learns from all of them; if that is an end state that runs through them, only at the first batch.
        """
        if not 0 <= k < model.field.num_blocks:
            raise ValueError(f"Expected a block from 0 to {model.field.num_blocks - 1}; got k={k}.")
        _refuse_shared(model)
        # A stack of one, so that optimisers and files see it as they see all blocks: with a leading axis.
        self.field = Blocks(  # pyright: ignore[reportIncompatibleVariableOverride]
            lambda key: model.field.block(k), 1, key=jr.key(0)
        )
        self.rest = _without_blocks(model)
        self.k = k

    @property
    def embedding(self) -> AbstractLabelEmbedding:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The embedding of the model."""
        return self.rest.embedding

    @property
    def readout(self) -> AbstractReadout:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The readout of the model."""
        return self.rest.readout

    @property
    def default_prediction(self) -> Prediction:
        """The block itself, at z = 0."""
        return one_euler_step()

    @property
    def paper_prediction(self) -> Prediction:
        """The block itself, at z = 0: a single block has no trajectory."""
        return one_euler_step()

    @property
    def protocols(self) -> dict[str, Prediction]:
        return {}

    @property
    def independent_blocks(self) -> Blocks:
        """The block."""
        return self.field

    def batch_loss(self, xs: Images, ys: Labels, *, key: Key) -> LossTerms:
        """The share of this block in the loss of the model, and the terms that involve no block."""
        xs, ys = jnp.asarray(xs), jnp.asarray(ys)
        keys = batch_keys(key)
        denoising = (
            self.rest.block_loss(self.field.block(0), self.k, xs, ys, key=keys.blocks) / self.rest.field.num_blocks
        )
        return LossTerms(denoising, *self.rest.shared_loss(xs, ys, key=keys.shared))

    def loss(self, x: Image, y: Label, *, key: Key) -> LossTerms:
        """The same for one example."""
        return self.batch_loss(jnp.asarray(x)[None], jnp.asarray(y)[None], key=key)

    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        """**Raises:** `TypeError`: one block does not carry noise to an embedding."""
        raise TypeError(
            f"One block of {self.rest.field.num_blocks} has no trajectory; noprop_ode.join_blocks makes the model."
        )

    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """The softmax of the block, at the start of its interval."""
        own = jax.tree.map(lambda a: a[0], features)
        return jnn.log_softmax(self.rest.block_logits(self.field.block(0), self.k, z, own))


def join_blocks(model: AbstractBlockModel, parts: Sequence[OneBlock]) -> AbstractBlockModel:
    """The model assembled from blocks that were trained separately.

    **Arguments:**

    - `model`: the model that the parts were taken from; only its structure matters.
    - `parts`: a [`noprop_ode.OneBlock`][] for each of its blocks, in any order.

    **Returns:** the model with their weights.

    **Raises:** `ValueError` unless each block is given once, and what all of them have trained agrees.
    """
    num_blocks = model.field.num_blocks
    by_position = {part.k: part for part in parts}
    if len(by_position) < len(parts) or sorted(by_position) != list(range(num_blocks)):
        raise ValueError(
            f"Expected the blocks 0 to {num_blocks - 1}, each once; got {', '.join(str(part.k) for part in parts)}."
        )
    ordered = [by_position[k] for k in range(num_blocks)]
    rests = [part.rest for part in ordered]
    if rests[0].field.num_blocks != num_blocks:
        raise ValueError(f"Expected the blocks of a model of {num_blocks}; got those of {rests[0].field.num_blocks}.")
    for k, rest in enumerate(rests):
        if not _agree(rests[0], rest):
            raise ValueError(
                f"Block {k} comes with another readout, embedding or schedule than block 0. Blocks of one model train "
                "on the same data, with the same seed, optimiser and number of steps."
            )
    stacked = jax.tree.map(
        lambda *arrays: jnp.concatenate(arrays) if eqx.is_array(arrays[0]) else arrays[0],
        *(part.field.stacked for part in ordered),
    )
    return eqx.tree_at(lambda m: m.field.stacked, rests[0], stacked)


class _Elsewhere(AbstractVectorField):
    """A placeholder for the other blocks."""

    def encode(self, x: Image, *, key: Key | None = None) -> Features:
        raise TypeError(_COUPLED.format("the states that a readout learns from"))

    def __call__(self, t: Scalar, z: Latent, features: Features) -> Any:
        raise TypeError(_COUPLED.format("the states that a readout learns from"))


_COUPLED = (
    "Blocks that share {} do not train apart: it depends on all of them at every step. Train all blocks in one job, or "
    "use a fixed embedding (OneHot(), PrototypeEmbedding(trainable=False)), a fixed schedule and MarginalEndState. One "
    "of your own is fixed if it is an AbstractFreezable whose `trainable` is false."
)


def _without_blocks(model: AbstractBlockModel) -> AbstractBlockModel:
    return eqx.tree_at(lambda m: m.field.stacked, model, _Elsewhere())


def _refuse_shared(model: AbstractBlockModel) -> None:
    if not model.plan.apart:
        raise TypeError(
            f"A block that trains alone takes part in every step: expected plan=AllBlocks(); got {name_of(model.plan)}."
        )
    around = eqx.tree_at(lambda m: (m.field, m.readout), model, (None, None))
    learned = jax.tree_util.tree_leaves_with_path(eqx.filter(around, trainable_mask(around)))
    if learned:
        raise TypeError(_COUPLED.format(", ".join(jax.tree_util.keystr(where) for where, _ in learned)))


def _agree(one: PyTree[Any], other: PyTree[Any]) -> bool:
    """Whether what was trained several times agrees; machines may round differently."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False

    def alike(a: Any, b: Any) -> bool:
        if eqx.is_array(a) and eqx.is_array(b):
            return a.shape == b.shape and np.allclose(a, b, rtol=1e-2, atol=1e-3)
        return not isinstance(a, int | float | str) or a == b  # a setting, such as an end of the schedule

    return all(map(alike, jax.tree.leaves(one), jax.tree.leaves(other)))
