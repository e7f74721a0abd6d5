"""The denoising error."""

import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp

from .._labels.embedding import AbstractLabelEmbedding
from .._labels.readout import at_label
from .._numbers import number
from .._types import Label, Logits, Scalar
from .weighting import AbstractWeighting, ELBOWeighting, UniformWeighting


class AbstractObjective(eqx.Module):
    """The denoising error of a prediction, with the `weighting` that multiplies it at each time."""

    weighting: eqx.AbstractVar[AbstractWeighting]

    @abc.abstractmethod
    def error(
        self, logits: Logits, y: Label, embedding: AbstractLabelEmbedding, *, skip: Logits | Scalar | float = 0.0
    ) -> Scalar:
        """The unweighted error of the network's class logits.

        **Arguments:**

        - `logits`: the network's, shape `[classes]`.
        - `y`: the label.
        - `embedding`: the label embeddings.
        - `skip`: what the model adds to the logits: what the noisy state alone says about the class, or nothing.

        **Returns:** the error of one example.
        """


class SquaredError(AbstractObjective):
    r"""Half the squared distance of the predicted embedding from the true one, $\frac{1}{2} \|\hat u - u_y\|^2$, summed
    over dimensions; with the default ELBO weighting, this is the paper's loss (eq. 8 and 9).

    **Arguments:**

    - `weighting`: what multiplies the error at each time.
    """

    weighting: AbstractWeighting = ELBOWeighting()

    def error(
        self, logits: Logits, y: Label, embedding: AbstractLabelEmbedding, *, skip: Logits | Scalar | float = 0.0
    ) -> Scalar:
        return 0.5 * jnp.sum((embedding.mix(jnn.softmax(logits + skip)) - embedding(y)) ** 2)


class CrossEntropy(AbstractObjective):
    r"""Cross-entropy of the class posterior inside the network, $-\log p(y | x, z_t)$, in nats; uniform weighting by
    default.

    It has the same optimal denoiser as the squared error, but its gradient does not vanish on a confident mistake.

    ??? cite "Reference"

        Dieleman et al., *Continuous Diffusion for Categorical Data*, 2022 (arXiv 2211.15089), "score interpolation".

    **Arguments:**

    - `weighting`: what multiplies the error at each time.
    - `smoothing`: share s of the target that is spread evenly over all classes (Szegedy et al. 2015, arXiv 1512.00567):

    $$-(1 - s) \log p(y | x, z_t) - \frac{s}{C} \sum_c \log \pi_c.$$

    Here $\pi$ is the softmax of the network's own logits. With `evidence_skip`, that is its estimate of p(y | x):
    smoothing casts doubt on the image, but not on what the noisy state says about the class. Without it, $\pi$ is
    $p(\cdot | x, z_t)$, and states close to their label are doubted too, which ruins trajectories of many steps. Either
    way, trajectories sample the class, and so err more often than the most probable class.

    **Raises:** `ValueError` for a share outside [0, 1).
    """

    weighting: AbstractWeighting = UniformWeighting()
    smoothing: float = eqx.field(default=0.0, static=True, converter=number)

    def __check_init__(self):
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"The share of a smoothed label is in [0, 1); got smoothing={self.smoothing}.")

    def error(
        self, logits: Logits, y: Label, embedding: AbstractLabelEmbedding, *, skip: Logits | Scalar | float = 0.0
    ) -> Scalar:
        error = -at_label(jnn.log_softmax(logits + skip), y)
        if self.smoothing == 0:
            return error
        return (1 - self.smoothing) * error - self.smoothing * jnp.mean(jnn.log_softmax(logits))
