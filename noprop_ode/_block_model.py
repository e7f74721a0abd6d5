"""A model whose training splits into one problem per block."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int

from ._blocks import AbstractBlockPlan, Blocks
from ._model import AbstractModel, LossTerms
from ._types import Features, Images, Key, Labels, Latent, Logits, Scalar
from ._vector_field import AbstractVectorField


class BatchKeys(NamedTuple):
    """The random keys of a batch, by use: which blocks take part, their noise and dropout, and the shared terms."""

    plan: Key
    blocks: Key
    shared: Key


def batch_keys(key: Key) -> BatchKeys:
    """Splits the key of a batch, in the same way for the loss in one piece and block by block."""
    return BatchKeys(*jr.split(key, 3))


class AbstractBlockModel(AbstractModel):
    """A model whose training loss is the mean of one loss per block, plus terms that involve no block.

    The two parts are separate methods, so that a step can process the blocks one after another with the memory of one;
    `batch_loss` computes the same loss in one piece.
    """

    field: eqx.AbstractVar[Blocks]  # pyright: ignore[reportIncompatibleVariableOverride]
    plan: eqx.AbstractVar[AbstractBlockPlan]

    @abc.abstractmethod
    def block_loss(
        self, block: AbstractVectorField, k: int | Int[Array, ""], xs: Images, ys: Labels, *, key: Key
    ) -> Scalar:
        """The denoising term of one block, averaged over a batch.

        **Arguments:**

        - `block`: the network; the model's own blocks are not used.
        - `k`: its position, 0 to T - 1.
        - `xs`, `ys`: a batch.
        - `key`: randomness for the noise and dropout of all blocks; each block derives its own from it.

        **Returns:** the term.
        """

    @abc.abstractmethod
    def block_logits(
        self, block: AbstractVectorField, k: int | Int[Array, ""], z: Latent, features: Features
    ) -> Logits:
        """The class logits of one block, at the start of its interval.

        **Arguments:**

        - `block`: the network.
        - `k`: its position, 0 to T - 1.
        - `z`: the state, shape `[dim]`.
        - `features`: the image features, from `block.encode`.

        **Returns:** shape `[classes]`.
        """

    @abc.abstractmethod
    def shared_loss(self, xs: Images, ys: Labels, *, key: Key) -> tuple[Scalar, Scalar]:
        """The readout and the prior term, averaged over a batch.

        **Arguments:** a batch, and the `key` for the end states. **Returns:** the two terms.
        """

    def batch_loss(self, xs: Images, ys: Labels, *, key: Key) -> LossTerms:
        """The training loss averaged over a batch; a plan that draws a block draws one for the whole batch."""
        xs, ys = jnp.asarray(xs), jnp.asarray(ys)
        keys = batch_keys(key)

        def loss(k: int | Int[Array, ""]) -> Scalar:
            return self.block_loss(self.field.block(k), k, xs, ys, key=keys.blocks)

        denoising = self.plan.average(loss, self.field.num_blocks, key=keys.plan)
        return LossTerms(denoising, *self.shared_loss(xs, ys, key=keys.shared))
