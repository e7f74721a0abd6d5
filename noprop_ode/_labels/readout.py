"""From the end of a trajectory to class probabilities, and the closed forms behind it."""

import abc
from typing import TypeAlias

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._numbers import number
from .._schedules.base import AbstractNoiseSchedule
from .._types import Key, Label, Latent, LogProbs, Scalar
from .embedding import AbstractLabelEmbedding


class AbstractReadout(eqx.Module):
    """From the end of the trajectory, $z_1$, to class log-probabilities, $p(y | z_1)$."""

    @abc.abstractmethod
    def __call__(self, z: Latent, embedding: AbstractLabelEmbedding) -> LogProbs:
        """Reads the class out of a latent state.

        **Arguments:**

        - `z`: the state, shape `[dim]`.
        - `embedding`: the label embeddings of the model.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """


class LinearReadout(AbstractReadout):
    r"""The paper's readout: a linear layer and a softmax, $p(y | z) = \mathrm{softmax}(A z + b)_y$."""

    weight: Float[Array, "classes dim"]
    bias: Float[Array, " classes"]

    def __init__(self, dim: int, num_classes: int, *, key: Key):
        r"""**Arguments:**

        - `dim`: dimension of the latent state.
        - `num_classes`: number of classes.
        - `key`: initialises the weight, uniform in $\pm 1 / \sqrt{\mathrm{dim}}$; the bias starts at zero.

        **Raises:** `ValueError` for no dimension, or fewer than 2 classes.
        """
        if dim < 1 or num_classes < 2:
            raise ValueError(f"A readout needs a dimension and at least 2 classes; got {dim=} and {num_classes=}.")
        bound = dim**-0.5
        self.weight = jr.uniform(key, (num_classes, dim), jnp.float32, -bound, bound)
        self.bias = jnp.zeros(num_classes, dtype=jnp.float32)

    def __call__(self, z: Latent, embedding: AbstractLabelEmbedding) -> LogProbs:
        return jnn.log_softmax(jnp.matmul(self.weight, z, precision="highest") + self.bias)


class PosteriorReadout(AbstractReadout):
    r"""The paper's second readout (eq. 15 and 16): the class probabilities of a linear layer give a point among the
    embeddings, $\tilde y = W^\top \mathrm{softmax}(A z + b)$, and its distances to them give the posterior,
    $p(y | z) \propto \exp(-\|\tilde y - u_y\|^2 / 2 s^2)$."""

    linear: LinearReadout
    scale: float = eqx.field(static=True)

    def __init__(self, dim: int, num_classes: int, *, scale: float = 0.25, key: Key):
        """**Arguments:**

        - `dim`: dimension of the latent state.
        - `num_classes`: number of classes.
        - `scale`: the standard deviation s, in units of the embedding.
        - `key`: initialises the linear layer.

        **Raises:** `ValueError` unless the scale is positive.
        """
        _check_scale(scale)
        self.linear = LinearReadout(dim, num_classes, key=key)
        self.scale = number(scale)

    def __call__(self, z: Latent, embedding: AbstractLabelEmbedding) -> LogProbs:
        point = embedding.mix(jnp.exp(self.linear(z, embedding)))
        return _log_kernel(point, embedding, self.scale)


class NearestEmbedding(AbstractReadout):
    r"""Reads the class off the nearest embedding: $p(y | z) \propto \exp(-\|z - u_y\|^2 / 2 s^2)$. Flow matching
    predicts with it; it has nothing to train.

    **Arguments:**

    - `scale`: the standard deviation s, in units of the embedding.

    **Raises:** `ValueError` unless the scale is positive.
    """

    scale: float = eqx.field(static=True, default=0.25, converter=number)

    def __check_init__(self):
        _check_scale(self.scale)

    def __call__(self, z: Latent, embedding: AbstractLabelEmbedding) -> LogProbs:
        return _log_kernel(z, embedding, self.scale)


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise ValueError(f"The scale of a readout is a deviation and must be positive; got {scale}.")


def _log_kernel(point: Latent, embedding: AbstractLabelEmbedding, scale: float) -> LogProbs:
    # The squared norm of the point is the same for every class, and drops out.
    squared_distance = embedding.squared_norms() - 2 * embedding.similarity(point)
    return jnn.log_softmax(-squared_distance / (2 * scale**2))


def marginal_log_posterior(
    z: Latent, t: Scalar, schedule: AbstractNoiseSchedule, embedding: AbstractLabelEmbedding
) -> LogProbs:
    r"""The exact class posterior of the known Gaussian marginal $z_t \sim \mathcal{N}(\alpha u_y, \sigma^2 I)$,
    for equally likely classes:

    $$\log p(y | z_t) = \frac{\alpha}{\sigma^2} u_y \cdot z_t - \frac{\alpha^2}{2 \sigma^2} \|u_y\|^2
    + \mathrm{const}.$$

    It is linear in $z_t$, needs no training, and minimises the loss of a linear readout.

    **Arguments:**

    - `z`: the state, shape `[dim]`.
    - `t`: its time.
    - `schedule`, `embedding`: those of the model.

    **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
    """
    return jnn.log_softmax(evidence(z, t, schedule, embedding))


def evidence(
    z: Latent, t: Scalar, schedule: AbstractNoiseSchedule, embedding: AbstractLabelEmbedding
) -> Float[Array, " classes"]:
    r"""What the state alone says about the class: $\frac{\alpha}{\sigma^2} u_y \cdot z_t -
    \frac{\alpha^2}{2 \sigma^2} \|u_y\|^2$, the unnormalised log-posterior of the Gaussian marginal.

    Added to $\log p(y | x)$ it gives the class posterior of the optimal denoiser, $\log p(y | x, z_t)$.

    **Arguments:** as for [`noprop_ode.marginal_log_posterior`][].

    **Returns:** unnormalised log-probabilities, shape `[classes]`, in nats.
    """
    alpha, _ = schedule.alpha_sigma(t)
    snr = schedule.snr(t)
    return snr / alpha * embedding.similarity(z) - 0.5 * snr * embedding.squared_norms()


def marginal_readout(schedule: AbstractNoiseSchedule, embedding: AbstractLabelEmbedding) -> LinearReadout:
    r"""A linear readout initialised at the exact posterior of $q(z_1 | y)$, the minimum of its own loss.

    **Arguments:**

    - `schedule`, `embedding`: those of the model; their current values are used.

    **Returns:** a trainable [`noprop_ode.LinearReadout`][].
    """
    return _linear_readout(embedding, _marginal_start(schedule, embedding))


def gaussian_readout(embedding: AbstractLabelEmbedding, *, scale: float | None = None) -> LinearReadout:
    r"""A linear readout initialised at the class posterior of $z \sim \mathcal{N}(u_y, s^2 I)$: a trainable
    [`noprop_ode.NearestEmbedding`][].

    This is for models trained end to end, whose last state has no known marginal. With random weights of the usual size
    the readout of a state among the embeddings is nearly uniform, and holds training back until its weights have grown.

    **Arguments:**

    - `embedding`: that of the model; its current values are used.
    - `scale`: the standard deviation s, in units of the embedding; by default a quarter of the root mean square norm of
        the embeddings, which is 0.25 for one-hot labels.

    **Returns:** a trainable [`noprop_ode.LinearReadout`][].

    **Raises:** `ValueError` unless the scale is positive.
    """
    if scale is not None:
        _check_scale(scale)
    return _linear_readout(embedding, _gaussian_start(embedding, scale))


# Weight and bias of a linear readout, made in one program: operation by operation, twenty would be compiled.
_Start: TypeAlias = tuple[Float[Array, "classes dim"], Float[Array, " classes"]]


@eqx.filter_jit
def _marginal_start(schedule: AbstractNoiseSchedule, embedding: AbstractLabelEmbedding) -> _Start:
    one = jnp.ones((), dtype=jnp.float32)
    alpha, _ = schedule.alpha_sigma(one)
    snr = schedule.snr(one)
    return _start(embedding, snr / alpha, snr)


@eqx.filter_jit
def _gaussian_start(embedding: AbstractLabelEmbedding, scale: float | None) -> _Start:
    if scale is None:
        precision = 16 / jnp.mean(embedding.squared_norms())
    else:
        precision = jnp.asarray(1 / scale**2, jnp.float32)
    return _start(embedding, precision, precision)


def _start(embedding: AbstractLabelEmbedding, gain: Scalar, precision: Scalar) -> _Start:
    r"""Weight and bias for the logits $g\, u_y \cdot z - \frac{1}{2} p\, \|u_y\|^2$."""
    rows = jax.vmap(embedding)(jnp.arange(embedding.num_classes))
    return gain * rows, -0.5 * precision * embedding.squared_norms()


def _linear_readout(embedding: AbstractLabelEmbedding, start: _Start) -> LinearReadout:
    # Its random weights are not drawn: they would be thrown away.
    random = eqx.filter_eval_shape(LinearReadout, embedding.dim, embedding.num_classes, key=jr.key(0))
    return eqx.tree_at(lambda r: (r.weight, r.bias), random, start)


def at_label(log_p: LogProbs, y: Label) -> Scalar:
    """The log-probability of a label. Under `jit`, a label out of range cannot raise; it gives NaN, so that any loss
    computed from it is NaN too.

    **Arguments:** `log_p`, shape `[classes]`, and the label. **Returns:** nats.
    """
    y = jnp.asarray(y, jnp.int32)  # in uint8 there is no 256 to compare with
    return jnp.where((y >= 0) & (y < log_p.size), log_p[y], jnp.nan)
