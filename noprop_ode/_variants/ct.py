"""NoProp in continuous time."""

import math

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

from .._check import check_states_per_image
from .._choices import Prediction
from .._gaussian import AbstractEndState, AbstractGaussianModel, MarginalEndState, marginal_sample
from .._labels.embedding import AbstractLabelEmbedding
from .._labels.readout import AbstractReadout, marginal_readout
from .._model import LossTerms
from .._numbers import number
from .._objectives.objective import AbstractObjective, SquaredError
from .._objectives.times import AbstractTimes, UniformTimes
from .._schedules.base import AbstractNoiseSchedule
from .._schedules.cosine import CosineSchedule
from .._sizes import class_logits
from .._types import Features, Image, Key, Label, Scalar
from .._vector_field import AbstractVectorField
from .protocols import gaussian_protocols, one_ddim_step
from .timed import AbstractTimedModel


class NoPropCT(AbstractGaussianModel, AbstractTimedModel):
    r"""NoProp in continuous time (NoProp, arXiv 2503.24322, section 2.2): one vector field, trained at random times.

    $$\mathcal{L} = \underbrace{-\log p(y | z_1)}_\text{readout} +
    \underbrace{\mathrm{KL}\big(q(z_0 | y) \,\|\, \mathcal{N}(0, I)\big)}_\text{prior} +
    \underbrace{\tfrac{1}{2} \eta\, \mathrm{SNR}'(t) \left\|\hat u(z_t, x, t) - u_y\right\|^2}_\text{denoising},
    \quad t \sim \mathcal{U}(0, 1) \tag{9}$$

    The states $z_t$ and $z_1$ are independent draws from their marginals, so training never runs the ODE, and the
    readout term has no gradient to the network. Another objective or distribution of times replaces the denoising
    term; the paper's is the default.
    """

    field: AbstractVectorField
    schedule: AbstractNoiseSchedule
    embedding: AbstractLabelEmbedding
    readout: AbstractReadout
    objective: AbstractObjective
    times: AbstractTimes
    end_state: AbstractEndState
    states_per_image: int = eqx.field(static=True)
    eta: float = eqx.field(static=True)
    evidence_skip: bool = eqx.field(static=True)

    def __init__(
        self,
        field: AbstractVectorField,
        *,
        embedding: AbstractLabelEmbedding,
        schedule: AbstractNoiseSchedule | None = None,
        readout: AbstractReadout | None = None,
        objective: AbstractObjective | None = None,
        times: AbstractTimes | None = None,
        end_state: AbstractEndState | None = None,
        states_per_image: int = 1,
        eta: float = 1.0,
        evidence_skip: bool = False,
        key: Key | None = None,
    ):
        r"""**Arguments:**

        - `field`: the network.
        - `embedding`: label embeddings.
        - `schedule`: the noise schedule; cosine by default, while the paper learns it: `LearnedSchedule(key=...)`.
        - `readout`: from $z_1$ to classes; by default the linear readout, initialised at the minimum of its own loss
            ([`noprop_ode.marginal_readout`][]).
        - `objective`: the denoising error and its weighting; by default the paper's, [`noprop_ode.SquaredError`][].
        - `times`: the distribution of training times; uniform by default.
        - `end_state`: which states the readout is trained on; by default the paper's, draws from $q(z_1 | y)$.
        - `states_per_image`: number of noisy label states that a step draws for each image.
        - `eta`: multiplies the denoising term.
        - `evidence_skip`: add what the noisy state alone says about the class ([`noprop_ode.evidence`][]) to the
            network's logits; the network then only has to learn $\log p(y | x)$.
        - `key`: not needed by the defaults; accepted so that every variant is built alike.

        **Raises:** `ValueError` if `eta` or `states_per_image` is not positive.
        """
        del key
        if not 0 < eta < math.inf:
            raise ValueError(f"eta multiplies the denoising term and must be positive and finite; got {eta}.")
        self.field = field
        self.schedule = CosineSchedule() if schedule is None else schedule
        self.embedding = embedding
        self.readout = marginal_readout(self.schedule, embedding) if readout is None else readout
        self.objective = SquaredError() if objective is None else objective
        self.times = UniformTimes() if times is None else times
        self.end_state = MarginalEndState() if end_state is None else end_state
        self.states_per_image = check_states_per_image(states_per_image)
        self.eta = number(eta)
        self.evidence_skip = evidence_skip

    @property
    def default_prediction(self) -> Prediction:
        """One DDIM step from the mean, read from the denoiser."""
        return one_ddim_step()

    @property
    def protocols(self) -> dict[str, Prediction]:
        return gaussian_protocols(self.paper_prediction)

    def loss(
        self, x: Image, y: Label, *, key: Key, t: Scalar | None = None, features: Features | None = None
    ) -> LossTerms:
        """The training loss of one example and one noisy state of its label, with one weighted denoising error."""
        time_key, encode_key, noise_key, end_key = jr.split(key, 4)
        if t is None:
            t = self.times.quantile(jr.uniform(time_key, (), jnp.float32))
        if features is None:
            features = self.field.encode(x, key=encode_key)
        z = marginal_sample(self.embedding(y), t, self.schedule, key=noise_key)
        logits = class_logits(self.field, t, z, features, self.embedding)
        error = self.objective.error(logits, y, self.embedding, skip=self.skip(t, z))
        denoising = self.eta * self.objective.weighting(self.schedule, t) * error

        return LossTerms(denoising, *self.shared_terms(x, y, key=end_key))
