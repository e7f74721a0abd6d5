import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp

from ._model import AbstractMarginalModel
from ._readout import evidence, marginal_log_posterior
from ._schedule import AbstractNoiseSchedule
from ._types import Features, Latent, Logits, LogProbs, Scalar


class AbstractGaussianModel(AbstractMarginalModel):
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
        """See [`noprop_ode.AbstractMarginalModel.end_log_posterior`][] and [`noprop_ode.marginal_log_posterior`][]."""
        return marginal_log_posterior(z, jnp.ones((), jnp.float32), self.schedule, self.embedding)
