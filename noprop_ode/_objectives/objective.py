"""The denoising error."""

import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp

from .._labels.embedding import AbstractLabelEmbedding
from .._types import Label, Logits, Scalar
from .weighting import AbstractWeighting, ELBOWeighting, UniformWeighting


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
    - `smoothing`: share s of the target that is spread over all classes alike (Szegedy et al. 2015, arXiv 1512.00567),
        $-\sum_c \big((1 - s) [c = y] + s / C\big) \log p(c | x, z_t)$. The posterior is then less sure than the
        data, and trajectories, which are samples from it, err more often than its most probable class.

    **Raises:** `ValueError` for a share out of [0, 1).
    """

    weighting: AbstractWeighting = UniformWeighting()
    smoothing: float = eqx.field(default=0.0, static=True)

    def __check_init__(self):
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"The share of a smoothed label is in [0, 1); got smoothing={self.smoothing}.")

    def error(self, logits: Logits, y: Label, embedding: AbstractLabelEmbedding) -> Scalar:
        log_p = jnn.log_softmax(logits)
        if self.smoothing == 0:
            return -log_p[y]
        return -(1 - self.smoothing) * log_p[y] - self.smoothing * jnp.mean(log_p)
