"""The Gaussian path that DT and CT share: its states, its dynamics, and the loss terms that both have."""

import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr

from ._labels.readout import evidence, marginal_log_posterior
from ._model import AbstractMarginalModel
from ._schedules.base import AbstractNoiseSchedule
from ._sizes import class_logits
from ._types import Features, Image, Key, Label, Latent, Logits, LogProbs, Scalar


def marginal_sample(u: Latent, t: Scalar, schedule: AbstractNoiseSchedule, *, key: Key) -> Latent:
    r"""A draw from the marginal $q(z_t | y)$: $z_t = \alpha(t) u + \sigma(t) \epsilon$.

    **Arguments:**

    - `u`: the embedding of the label, shape `[dim]`.
    - `t`: time in [0, 1].
    - `schedule`: the noise schedule.
    - `key`: randomness for the noise.

    **Returns:** the state, shape `[dim]`.
    """
    alpha, sigma = schedule.alpha_sigma(t)
    return alpha * u + sigma * jr.normal(key, u.shape, u.dtype)


def kl_to_standard_normal(u: Latent, alpha: Scalar, sigma: Scalar) -> Scalar:
    r"""The KL divergence of $q(z_0 | y) = \mathcal{N}(\alpha_0 u, \sigma_0^2 I)$ from $\mathcal{N}(0, I)$, in nats:

    $$\frac{1}{2} \left(\alpha_0^2 \|u\|^2 - d\, \alpha_0^2 - d \log \sigma_0^2\right),$$

    using $\sigma_0^2 - 1 = -\alpha_0^2$ (the prior term of eq. 8 and 9).

    **Arguments:**

    - `u`: an embedding, shape `[dim]`.
    - `alpha`, `sigma`: amplitudes at t = 0.

    **Returns:** the divergence, at least 0.
    """
    # At low SNR, sigma differs from one by less than float32 resolves.
    low = alpha**2 < 0.5
    log_variance = jnp.where(low, jnp.log1p(-(jnp.where(low, alpha, 0.0) ** 2)), 2 * jnp.log(sigma))
    dim = u.size
    return 0.5 * (alpha**2 * (jnp.sum(u**2) - dim) - dim * log_variance)


class AbstractEndState(eqx.Module):
    """Which states $z_1$ the readout of DT and CT is trained on."""

    @abc.abstractmethod
    def __call__(self, model: "AbstractGaussianModel", x: Image, u: Latent, *, key: Key) -> Latent:
        """One end state of an example.

        **Arguments:**

        - `model`: the model.
        - `x`: the image.
        - `u`: the embedding of its label, shape `[dim]`.
        - `key`: randomness.

        **Returns:** the state, shape `[dim]`.
        """


class AbstractGaussianModel(AbstractMarginalModel):
    """What DT and CT share: a variance-preserving Gaussian path and a prediction of the clean embedding.

    A subclass has the fields of [`noprop_ode.AbstractModel`][], and also `schedule`, `end_state`
    ([`noprop_ode.MarginalEndState`][]) and `evidence_skip`.
    """

    schedule: eqx.AbstractVar[AbstractNoiseSchedule]
    end_state: eqx.AbstractVar[AbstractEndState]
    evidence_skip: eqx.AbstractVar[bool]

    def skip(self, t: Scalar, z: Latent) -> Logits | Scalar:
        """What the model adds to the network's logits: with `evidence_skip`, what the state alone says about the class
        ([`noprop_ode.evidence`][]), so that the network only has to learn log p(y | x)."""
        if not self.evidence_skip:
            return jnp.zeros((), jnp.float32)
        return evidence(z, t, self.schedule, self.embedding)

    def logits(self, t: Scalar, z: Latent, features: Features) -> Logits:
        """The class logits of the denoiser.

        **Arguments:** as for `velocity`.

        **Returns:** shape `[classes]`.
        """
        return class_logits(self.field, t, z, features, self.embedding) + self.skip(t, z)

    def predict_embedding(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The prediction $\hat u(z, x, t)$: the embeddings weighted by the class probabilities.

        **Arguments:** as for `velocity`.

        **Returns:** shape `[dim]`.
        """
        return self.embedding.mix(jnn.softmax(self.logits(t, z, features)))

    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The probability-flow ODE, $\frac{dz}{dt} = \frac{1}{2} \lambda'(t)\, \alpha\, (\hat u - \alpha z)$.

        It follows from $\frac{dz}{dt} = \frac{\dot\alpha}{\alpha} z + \frac{1}{2} \lambda' \sigma^2 s$, where
        $\frac{\dot\alpha}{\alpha} = \frac{1}{2} \lambda' \sigma^2$, with the score
        $s = (\alpha \hat u - z) / \sigma^2$. Nothing is divided by $\sigma$, so there is no singularity as long as
        $\lambda'$ is finite.

        ??? cite "Reference"

            Song et al., *Score-Based Generative Modeling through SDEs*, 2021 (arXiv 2011.13456), eq. 13.
        """
        alpha, _ = self.schedule.alpha_sigma(t)
        u_hat = self.predict_embedding(t, z, features)
        return 0.5 * self.schedule.log_snr_rate(t) * alpha * (u_hat - alpha * z)

    def generative_drift(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The drift of the generative SDE, $\lambda' \left[\alpha \hat u - \frac{1}{2} (1 + \alpha^2) z\right]$: the
        velocity of the ODE plus half the squared diffusion times the score.

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
        """The softmax of the denoiser."""
        return jnn.log_softmax(self.logits(t, z, features))

    def end_log_posterior(self, z: Latent) -> LogProbs:
        """The exact class posterior, [`noprop_ode.marginal_log_posterior`][], at t = 1."""
        return marginal_log_posterior(z, jnp.ones((), jnp.float32), self.schedule, self.embedding)

    def shared_terms(
        self, x: Image, y: Label, *, key: Key, end_state: AbstractEndState | None = None
    ) -> tuple[Scalar, Scalar]:
        """The readout and the prior term of the loss, which involve no time and no block.

        **Arguments:**

        - `x`, `y`: an example.
        - `key`: randomness for its end state.
        - `end_state`: which state the readout reads; by default, as in training.

        **Returns:** the readout term and the prior term.
        """
        u = self.embedding(y)
        z1 = (self.end_state if end_state is None else end_state)(self, x, u, key=key)
        prior = kl_to_standard_normal(u, *self.schedule.alpha_sigma(jnp.zeros((), jnp.float32)))
        return -self.readout(z1, self.embedding)[y], prior


class MarginalEndState(AbstractEndState):
    r"""A draw from the marginal, $z_1 \sim q(z_1 | y)$: the paper's loss, which never runs the dynamics."""

    def __call__(self, model: AbstractGaussianModel, x: Image, u: Latent, *, key: Key) -> Latent:
        return marginal_sample(u, jnp.ones((), jnp.float32), model.schedule, key=key)
