import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ._model import LossTerms
from ._types import Images, Key, Labels


class AbstractTimes(eqx.Module):
    """The distribution of training times on [0, 1], by its quantile function."""

    @abc.abstractmethod
    def quantile(self, level: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The time below which the share `level` of training times lies.

        **Arguments:**

        - `level`: a number in [0, 1).

        **Returns:** a time in [0, 1].
        """

    def stratified(self, n: int, *, key: Key) -> Float[Array, " n"]:
        r"""Times for a batch, one in each of `n` strata: $t_i = Q((U + i / n) \bmod 1)$ with one shared uniform U.

        Each time on its own has exactly this distribution, while the batch average of the loss varies far less than
        with independent times (Kingma et al. 2021, appendix I).

        **Arguments:**

        - `n`: the size of the batch.
        - `key`: randomness.

        **Returns:** times, shape `[n]`.
        """
        shift = jr.uniform(key, (), jnp.float32)
        levels = jnp.mod(shift + jnp.arange(n, dtype=jnp.float32) / n, 1.0)
        return self.quantile(levels)


class UniformTimes(AbstractTimes):
    """Times uniform on [0, 1], as in the paper."""

    def quantile(self, level: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """See [`noprop_ode.AbstractTimes.quantile`][]."""
        return level


class PowerTimes(AbstractTimes):
    r"""A power of a uniform time, $t = U^p$: the larger the power, the more training happens near pure noise, where
    the image alone decides.

    The loss is *not* divided by the density of these times: changing what is emphasised is the purpose.

    **Arguments:**

    - `power`: the exponent p.

    **Raises:** `ValueError` unless the power is positive.
    """

    power: float = 3.0

    def __check_init__(self):
        if not self.power > 0:
            raise ValueError(f"The power of the training times must be positive; got {self.power}.")

    def quantile(self, level: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """See [`noprop_ode.AbstractTimes.quantile`][]."""
        return level**self.power


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
