import abc
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ._embedding import AbstractLabelEmbedding
from ._readout import AbstractReadout, evidence, marginal_log_posterior
from ._schedule import AbstractNoiseSchedule
from ._types import Features, Image, Images, Key, Label, Labels, Latent, Logits, LogProbs, Scalar
from ._vector_field import AbstractVectorField
from ._weighting import AbstractTimes


class LossTerms(eqx.Module):
    """The loss of a model, its terms kept apart for logging: `denoising`, `readout` and `prior`, in nats where the
    objective is a log-likelihood or its bound."""

    denoising: Float[Array, "*batch"]
    readout: Float[Array, "*batch"]
    prior: Float[Array, "*batch"]

    @property
    def total(self) -> Float[Array, "*batch"]:
        """The sum of the terms: what training minimises."""
        return self.denoising + self.readout + self.prior


class Sample(eqx.Module):
    """Where a sampler arrived: the time `t` and the state `z`, the number of evaluations of the vector field
    (`num_evaluations`, NaN for a solver where it is not known in advance), and the solver's `result` code."""

    t: Scalar
    z: Latent
    num_evaluations: Scalar
    result: diffrax.RESULTS


class AbstractModel(eqx.Module):
    """A classifier whose inference is a trajectory from noise to a label embedding.

    Everything a sampler or a decoder asks of a model is here, so that any sampler serves any variant. One example at a
    time: `jax.vmap` gives the batch.
    """

    field: eqx.AbstractVar[AbstractVectorField]
    embedding: eqx.AbstractVar[AbstractLabelEmbedding]
    readout: eqx.AbstractVar[AbstractReadout]

    @abc.abstractmethod
    def loss(self, x: Image, y: Label, *, key: Key) -> LossTerms:
        """The training loss of one example.

        **Arguments:**

        - `x`: an image, `[height, width, channels]`; uint8 in [0, 255] or floating point in [0, 1].
        - `y`: its label.
        - `key`: randomness for times, noise and dropout.

        **Returns:** the terms of the loss, each a scalar.
        """

    @abc.abstractmethod
    def batch_loss(self, xs: Images, ys: Labels, *, key: Key) -> LossTerms:
        """The training loss averaged over a batch, with training times stratified over the batch.

        **Arguments:**

        - `xs`: images, `[batch, height, width, channels]`.
        - `ys`: labels, `[batch]`.
        - `key`: randomness.

        **Returns:** the mean of each term.
        """

    @abc.abstractmethod
    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        """The right-hand side of the ODE that carries noise to an embedding.

        **Arguments:**

        - `t`: time in [0, 1].
        - `z`: the state, shape `[dim]`.
        - `features`: of the image, from `field.encode`.

        **Returns:** dz/dt, shape `[dim]`.
        """

    @abc.abstractmethod
    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """The class log-probabilities that the network itself holds at a point of a trajectory.

        **Arguments:** as for `velocity`.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """

    @abc.abstractmethod
    def end_log_posterior(self, z: Latent) -> LogProbs:
        """The exact class posterior of the known marginal at t = 1; it needs no network.

        **Arguments:**

        - `z`: the state at t = 1, shape `[dim]`.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """

    def __call__(self, x: Image, *, key: Key, sampler: "AbstractSampler") -> LogProbs:
        """Class log-probabilities of one image from one trajectory: a draw of noise, the sampler, the readout.

        This is the paper's protocol. A trajectory is a sample of the class, not the most probable class:
        [`noprop_ode.predict_log_proba`][] has the alternatives.

        **Arguments:**

        - `x`: an image, `[height, width, channels]`.
        - `key`: randomness for the initial noise and a stochastic sampler.
        - `sampler`: how to get from t = 0 to t = 1.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.

        **Raises:** at run time, if the solver fails.
        """
        start_key, path_key = jr.split(key)
        z0 = jr.normal(start_key, (self.embedding.dim,), jnp.float32)
        end = sampler.sample(self, z0, self.field.encode(x), key=path_key)
        z1 = end.result.error_if(end.z, ~diffrax.is_okay(end.result))
        return self.readout(z1, self.embedding)


class AbstractGaussianModel(AbstractModel):
    """What DT and CT share: a variance-preserving Gaussian path and a prediction of the clean embedding."""

    schedule: eqx.AbstractVar[AbstractNoiseSchedule]
    evidence_skip: eqx.AbstractVar[bool]

    def skip(self, t: Scalar, z: Latent) -> Logits | Scalar:
        """What is added to the logits of the network: with `evidence_skip`, what the state alone says of the class
        ([`noprop_ode.evidence`][]), so that the network is left with the image's share, log p(y | x)."""
        if not self.evidence_skip:
            return jnp.zeros((), jnp.float32)
        return evidence(z, t, self.schedule, self.embedding)

    def logits(self, t: Scalar, z: Latent, features: Features) -> Logits:
        """The class logits of the denoiser.

        **Arguments:** as for `velocity`.

        **Returns:** shape `[classes]`.
        """
        return self.field(t, z, features) + self.skip(t, z)

    def predict_embedding(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The prediction $\hat u(z, x, t)$: class probabilities weighting the embeddings.

        **Arguments:** as for `velocity`.

        **Returns:** shape `[dim]`.
        """
        return self.embedding.mix(jnn.softmax(self.logits(t, z, features)))

    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The probability-flow ODE, $\frac{dz}{dt} = \frac{1}{2} \lambda'(t)\, \alpha\, (\hat u - \alpha z)$.

        It follows from $\frac{dz}{dt} = \frac{\dot\alpha}{\alpha} z - \frac{1}{2} \lambda' \sigma^2 (z + \sigma^2
        s)$ with the score $s = (\alpha \hat u - z) / \sigma^2$; nothing is divided by $\sigma$, so there is no
        singularity while $\lambda'$ is finite.

        ??? cite "Reference"

            Song et al., *Score-Based Generative Modeling through SDEs*, 2021 (arXiv 2011.13456), eq. 13.
        """
        alpha, _ = self.schedule.alpha_sigma(t)
        u_hat = self.predict_embedding(t, z, features)
        return 0.5 * self.schedule.log_snr_rate(t) * alpha * (u_hat - alpha * z)

    def generative_drift(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The drift of the generative SDE, $\lambda' \left[\alpha \hat u - \frac{1}{2} (1 + \alpha^2) z\right]$: the
        velocity of the ODE and half the squared diffusion times the score.

        **Arguments:** as for [`noprop_ode.AbstractModel.velocity`][].

        **Returns:** shape `[dim]`.
        """
        alpha, _ = self.schedule.alpha_sigma(t)
        u_hat = self.predict_embedding(t, z, features)
        return self.schedule.log_snr_rate(t) * (alpha * u_hat - 0.5 * (1 + alpha**2) * z)

    def diffusion(self, t: Scalar) -> Scalar:
        r"""The amplitude of the noise of the generative SDE, $\sqrt{\lambda'}\, \sigma$."""
        _, sigma = self.schedule.alpha_sigma(t)
        return jnp.sqrt(self.schedule.log_snr_rate(t)) * sigma

    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """See [`noprop_ode.AbstractModel.log_posterior`][]: the softmax of the denoiser."""
        return jnn.log_softmax(self.logits(t, z, features))

    def end_log_posterior(self, z: Latent) -> LogProbs:
        """See [`noprop_ode.AbstractModel.end_log_posterior`][] and [`noprop_ode.marginal_log_posterior`][]."""
        return marginal_log_posterior(z, jnp.ones((), jnp.float32), self.schedule, self.embedding)


class AbstractSampler(eqx.Module):
    """How to get from $z_0$ to $z_1$."""

    @property
    @abc.abstractmethod
    def stochastic(self) -> bool:
        """Whether the sampler adds noise along the way."""

    @abc.abstractmethod
    def sample(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, last_step: bool = True
    ) -> Sample:
        """Carries one state along.

        **Arguments:**

        - `model`: the model whose dynamics to follow.
        - `z0`: the state at t = 0, shape `[dim]`.
        - `features`: of the image, from `field.encode`.
        - `key`: randomness of a stochastic sampler.
        - `last_step`: if false, stop where the last of a fixed number of steps would begin. An adaptive sampler,
            which does not know its last step in advance, goes to t = 1 all the same.

        **Returns:** the state reached, its time, the number of evaluations and the solver's result code.

        **Raises:** `TypeError` if this sampler cannot follow the dynamics of this model.
        """

    @abc.abstractmethod
    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """The states at given times.

        **Arguments:** as for `sample`, and

        - `ts`: increasing times in [0, 1]; between the steps of the sampler, states are interpolated.

        **Returns:** states, shape `[times, dim]`.
        """


def timed_batch_loss(
    loss: Callable[..., LossTerms], times: AbstractTimes, xs: Images, ys: Labels, *, key: Key
) -> LossTerms:
    """Averages the loss of one example over a batch whose times are stratified.

    **Arguments:**

    - `loss`: a function `(x, y, *, key, t)` of one example.
    - `times`: the distribution of training times.
    - `xs`, `ys`, `key`: as for `AbstractModel.batch_loss`.

    **Returns:** the mean of each term.
    """
    times_key, loss_key = jr.split(key)
    ts = times.stratified(len(xs), key=times_key)
    keys = jr.split(loss_key, len(xs))
    terms = jax.vmap(lambda x, y, key, t: loss(x, y, key=key, t=t))(jnp.asarray(xs), jnp.asarray(ys), keys, ts)
    return jax.tree.map(jnp.mean, terms)


def name_of(module: Any) -> str:
    """The class name of a module, for messages."""
    return type(module).__name__
