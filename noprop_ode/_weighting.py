import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp

from ._embedding import AbstractLabelEmbedding
from ._schedule import AbstractNoiseSchedule
from ._types import Label, Logits, Scalar


#
# What multiplies the denoising error at each time.
#


class AbstractWeighting(eqx.Module):
    """The weight $w(t)$ of the denoising error at time t."""

    @abc.abstractmethod
    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        """The weight in continuous time.

        **Arguments:**

        - `schedule`: the noise schedule.
        - `t`: the training time.

        **Returns:** a non-negative weight.
        """

    @abc.abstractmethod
    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        """The weight of the block that owns the interval from `s` to `t`: the discrete-time counterpart, which
        tends to the weight in continuous time as the interval shrinks.

        **Arguments:**

        - `schedule`: the noise schedule.
        - `s`, `t`: the ends of the interval, `s < t`; the network sees its state at `s`.

        **Returns:** a non-negative weight.
        """


class ELBOWeighting(AbstractWeighting):
    r"""The paper's weight, of a bound on the log likelihood: $\mathrm{SNR}'(t)$ (eq. 9), and over an interval
    $(\mathrm{SNR}(t) - \mathrm{SNR}(s)) / (t - s)$, which is $T (\mathrm{SNR}(k) - \mathrm{SNR}(k - 1))$ for
    block k of T (eq. 8).

    In continuous time nearly all of this weight falls where the noisy label already shows the class.
    """

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.__call__`][]."""
        return schedule.snr_rate(t)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.over`][]."""
        return schedule.snr_increment(s, t) / (t - s)


class UniformWeighting(AbstractWeighting):
    """The same weight, one, at every time."""

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.__call__`][]."""
        return jnp.ones_like(t)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.over`][]."""
        return jnp.ones_like(t)


class MinSNRWeighting(AbstractWeighting):
    r"""The capped weight $\min(\mathrm{SNR}(t), c)$.

    ??? cite "Reference"

        Hang et al., *Efficient Diffusion Training via Min-SNR Weighting Strategy*, 2023 (arXiv 2303.09556), for a
        network that predicts the clean signal.

    **Arguments:**

    - `cap`: the greatest weight c.

    **Raises:** `ValueError` unless the cap is positive.
    """

    cap: float = 5.0

    def __check_init__(self):
        if not self.cap > 0:
            raise ValueError(f"The cap of a min-SNR weight must be positive; got {self.cap}.")

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.__call__`][]."""
        return jnp.minimum(schedule.snr(t), self.cap)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.over`][]; the SNR is that of the state the network sees."""
        return jnp.minimum(schedule.snr(s), self.cap)


class SigmoidWeighting(AbstractWeighting):
    r"""The bound's weight damped by a sigmoid of the log-SNR: $\mathrm{sigmoid}(b - \lambda(t))\,
    \mathrm{SNR}'(t) = e^b\, \mathrm{sigmoid}(\lambda(t) - b)\, \lambda'(t)$.

    ??? cite "Reference"

        Kingma and Gao, *Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation*, 2023
        (arXiv 2303.00848): a weight decreasing in the log-SNR.

    **Arguments:**

    - `bias`: the log-SNR b above which the weight is damped, in nats.
    """

    bias: float = 0.0

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.__call__`][]."""
        return jnp.exp(self.bias) * jnn.sigmoid(schedule.log_snr(t) - self.bias) * schedule.log_snr_rate(t)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractWeighting.over`][]."""
        rate = (schedule.log_snr(t) - schedule.log_snr(s)) / (t - s)
        return jnp.exp(self.bias) * jnn.sigmoid(schedule.log_snr(s) - self.bias) * rate


#
# The error itself, and its weight.
#


class AbstractObjective(eqx.Module):
    """The denoising error of a prediction, with the `weighting` that multiplies it at each time."""

    weighting: eqx.AbstractVar[AbstractWeighting]

    @abc.abstractmethod
    def error(self, logits: Logits, y: Label, embedding: AbstractLabelEmbedding) -> Scalar:
        """The unweighted error of the network's class logits.

        **Arguments:**

        - `logits`: shape `[classes]`.
        - `y`: the label.
        - `embedding`: the label embeddings.

        **Returns:** the error of one example.
        """


class SquaredError(AbstractObjective):
    r"""Half the squared distance of the predicted embedding, $\frac{1}{2} \|\hat u - u_y\|^2$, summed over
    dimensions; with the ELBO weighting, its default, this is the paper's loss (eq. 8 and 9).

    **Arguments:**

    - `weighting`: what multiplies the error at each time.
    """

    weighting: AbstractWeighting = ELBOWeighting()

    def error(self, logits: Logits, y: Label, embedding: AbstractLabelEmbedding) -> Scalar:
        """See [`noprop_ode.AbstractObjective.error`][]."""
        return 0.5 * jnp.sum((embedding.mix(jnn.softmax(logits)) - embedding(y)) ** 2)


class CrossEntropy(AbstractObjective):
    r"""Cross-entropy of the class posterior inside the network, $-\log p(y | x, z_t)$, in nats; uniform weighting by
    default.

    Its minimum is the same denoiser as that of the squared error, and its gradient does not vanish where a wrong
    class is predicted with confidence.

    ??? cite "Reference"

        Dieleman et al., *Continuous Diffusion for Categorical Data*, 2022 (arXiv 2211.15089), "score interpolation".

    **Arguments:**

    - `weighting`: what multiplies the error at each time.
    """

    weighting: AbstractWeighting = UniformWeighting()

    def error(self, logits: Logits, y: Label, embedding: AbstractLabelEmbedding) -> Scalar:
        """See [`noprop_ode.AbstractObjective.error`][]."""
        return -jnn.log_softmax(logits)[y]
