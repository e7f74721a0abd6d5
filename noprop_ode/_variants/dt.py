"""NoProp in discrete time."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int

from .._block_model import AbstractBlockModel
from .._blocks import AbstractBlockPlan, AllBlocks, Blocks
from .._check import check_states_per_image
from .._choices import Prediction
from .._gaussian import AbstractEndState, AbstractGaussianModel, MarginalEndState, marginal_sample
from .._labels.embedding import AbstractLabelEmbedding, OneHot
from .._labels.readout import AbstractReadout, marginal_readout
from .._model import LossTerms
from .._numbers import number
from .._objectives.objective import AbstractObjective, SquaredError
from .._parts import vmap_in_parts
from .._prediction.decoder import ReadoutDecoder
from .._samplers.ancestral import Ancestral
from .._schedules.base import AbstractNoiseSchedule
from .._schedules.cosine import CosineSchedule
from .._sizes import class_logits
from .._types import Features, Image, Images, Key, Label, Labels, Latent, Logits, Scalar
from .._vector_field import AbstractVectorField
from .protocols import gaussian_protocols, low_snr_blocks, one_ddim_step


class NoPropDT(AbstractGaussianModel, AbstractBlockModel):
    r"""NoProp in discrete time (NoProp, arXiv 2503.24322, section 2.1): T blocks, each trained on its own.

    $$\begin{aligned}\mathcal{L} = {}& -\log p(y | z_T) + \mathrm{KL}\big(q(z_0 | y) \,\|\, \mathcal{N}(0, I)\big) \\
    &+ \tfrac{T}{2} \eta\, \big(\mathrm{SNR}(k) - \mathrm{SNR}(k - 1)\big) \left\|\hat u_k(z_{k-1}, x) - u_y\right\|^2,
    \quad k \sim \mathcal{U}\{1, \dots, T\}\end{aligned} \tag{8}$$

    This is NoProp-CT on a grid, with parameters that are piecewise constant in time: block k sees its
    own input level, $z_{k-1}$ at $t = (k - 1) / T$, and as T grows $T (\mathrm{SNR}(k) - \mathrm{SNR}(k - 1))$ tends to
    $\mathrm{SNR}'(t)$. Every state is an independent draw from its marginal: nothing passes from block to block,
    forwards or backwards. Only the embedding, the readout and the schedule are shared.
    """

    field: Blocks  # pyright: ignore[reportIncompatibleVariableOverride]
    schedule: AbstractNoiseSchedule
    embedding: AbstractLabelEmbedding
    readout: AbstractReadout
    objective: AbstractObjective
    plan: AbstractBlockPlan
    end_state: AbstractEndState
    states_per_image: int = eqx.field(static=True)
    eta: float = eqx.field(static=True)
    evidence_skip: bool = eqx.field(static=True)

    def __init__(
        self,
        blocks: Blocks,
        *,
        embedding: AbstractLabelEmbedding,
        schedule: AbstractNoiseSchedule | None = None,
        readout: AbstractReadout | None = None,
        objective: AbstractObjective | None = None,
        plan: AbstractBlockPlan | None = None,
        end_state: AbstractEndState | None = None,
        states_per_image: int = 1,
        eta: float = 0.1,
        evidence_skip: bool = False,
        key: Key | None = None,
    ):
        r"""**Arguments:**

        - `blocks`: the networks.
        - `embedding`: label embeddings.
        - `schedule`: the noise schedule; cosine by default, as in the paper.
        - `readout`: from $z_1$ to classes; [`noprop_ode.marginal_readout`][] by default.
        - `objective`: the denoising error and its weighting; the paper's by default.
        - `plan`: which blocks a step trains; all of them by default.
        - `end_state`: which states the readout is trained on; by default the paper's, draws from $q(z_T | y)$.
        - `states_per_image`: number of noisy label states that a block draws for each image of a step.
        - `eta`: multiplies the denoising term.
        - `evidence_skip`: as in [`noprop_ode.NoPropCT`][].
        - `key`: not needed by the defaults; accepted so that every variant is built alike.

        **Raises:** `ValueError` if `eta` or `states_per_image` is not positive.
        """
        del key
        if not 0 < eta < math.inf:
            raise ValueError(f"eta multiplies the denoising term and must be positive and finite; got {eta}.")
        self.field = blocks  # pyright: ignore[reportIncompatibleVariableOverride]
        self.schedule = CosineSchedule() if schedule is None else schedule
        self.embedding = embedding
        self.readout = marginal_readout(self.schedule, embedding) if readout is None else readout
        self.objective = SquaredError() if objective is None else objective
        self.plan = AllBlocks() if plan is None else plan
        self.end_state = MarginalEndState() if end_state is None else end_state
        self.states_per_image = check_states_per_image(states_per_image)
        self.eta = number(eta)
        self.evidence_skip = evidence_skip

    @property
    def own_sampler(self) -> Ancestral:
        """The sampler that the paper uses for this model: one ancestral step per block."""
        return Ancestral(self.field.num_blocks)

    @property
    def default_prediction(self) -> Prediction:
        """With one-hot labels, the average over the blocks of the lower half of the SNR, each evaluated at the mean.
        With others, the first block alone, in one DDIM step: embeddings of different length are not equally probable
        at the mean."""
        low_snr = low_snr_blocks(self.field.num_blocks)
        return low_snr if isinstance(self.embedding, OneHot) else one_ddim_step()

    @property
    def paper_prediction(self) -> Prediction:
        """One ancestral step per block from noise, and the readout."""
        return Prediction("noise", self.own_sampler, ReadoutDecoder())

    @property
    def protocols(self) -> dict[str, Prediction]:
        from_mean = {"mean ddim-1": one_ddim_step(), "mean ensemble": low_snr_blocks(self.field.num_blocks)}
        return {**from_mean, **gaussian_protocols(self.paper_prediction)}

    @property
    def independent_blocks(self) -> Blocks:
        """All of its blocks."""
        return self.field

    def block_error(
        self, x: Image, y: Label, k: int | Int[Array, ""], *, key: Key, block: AbstractVectorField | None = None
    ) -> Scalar:
        """The weighted denoising error of one block.

        **Arguments:**

        - `x`, `y`: an example.
        - `k`: position of the block, 0 to T - 1.
        - `key`: randomness of noise and dropout.
        - `block`: its network; that of the model if not given.

        **Returns:** the error, without `eta`.
        """
        network = self.field.block(k) if block is None else block
        keys = jr.split(jr.fold_in(key, k), 1 + self.states_per_image)
        features = network.encode(x, key=keys[0])
        num_blocks = self.field.num_blocks
        start = jnp.asarray(k, jnp.float32) / num_blocks
        end = jnp.asarray(k + 1, jnp.float32) / num_blocks
        weight = self.objective.weighting.over(self.schedule, start, end)

        def error(noise_key: Key) -> Scalar:
            z = marginal_sample(self.embedding(y), start, self.schedule, key=noise_key)
            logits = class_logits(network, start, z, features, self.embedding)
            return self.objective.error(logits, y, self.embedding, skip=self.skip(start, z))

        return weight * jnp.mean(jax.vmap(error)(keys[1:]))

    def block_logits(
        self, block: AbstractVectorField, k: int | Int[Array, ""], z: Latent, features: Features
    ) -> Logits:
        start = jnp.asarray(k, jnp.float32) / self.field.num_blocks
        return class_logits(block, start, z, features, self.embedding) + self.skip(start, z)

    def block_loss(
        self, block: AbstractVectorField, k: int | Int[Array, ""], xs: Images, ys: Labels, *, key: Key
    ) -> Scalar:
        """The mean error of the block, times `eta`."""

        def error(x: Image, y: Label, key: Key) -> Scalar:
            return self.block_error(x, y, k, key=key, block=block)

        return self.eta * jnp.mean(vmap_in_parts(error, block)(xs, ys, jr.split(key, len(xs))))

    def shared_loss(self, xs: Images, ys: Labels, *, key: Key) -> tuple[Scalar, Scalar]:
        terms = jax.vmap(lambda x, y, key: self.shared_terms(x, y, key=key))
        readout, prior = terms(xs, ys, jr.split(key, len(xs)))
        return jnp.mean(readout), jnp.mean(prior)

    def loss(self, x: Image, y: Label, *, key: Key) -> LossTerms:
        """The training loss of one example; the denoising term is the mean over the blocks of the plan."""
        return self.batch_loss(jnp.asarray(x)[None], jnp.asarray(y)[None], key=key)
