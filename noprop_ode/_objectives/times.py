"""The distribution of training times."""

import abc
import math

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._numbers import number
from .._types import Key


class AbstractTimes(eqx.Module):
    """The distribution of training times on [0, 1], given by its quantile function."""

    @abc.abstractmethod
    def quantile(self, level: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The time below which the share `level` of training times lies.

        **Arguments:**

        - `level`: a number in [0, 1).

        **Returns:** a time in [0, 1].
        """

    def stratified(self, n: int, *, key: Key) -> Float[Array, " n"]:
        r"""Times for a step of training, one in each of `n` strata: $t_i = Q((U + i / n) \bmod 1)$ with one shared
        uniform U.

        Each time on its own has exactly this distribution, while the batch average of the loss varies far less than
        with independent times (Kingma et al. 2021, appendix I).

        **Arguments:**

        - `n`: number of times.
        - `key`: randomness.

        **Returns:** times, shape `[n]`.
        """
        shift = jr.uniform(key, (), jnp.float32)
        levels = jnp.mod(shift + jnp.arange(n, dtype=jnp.float32) / n, 1.0)
        return self.quantile(levels)


class UniformTimes(AbstractTimes):
    """Times uniform on [0, 1], as in the paper."""

    def quantile(self, level: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return level


class PowerTimes(AbstractTimes):
    r"""A power of a uniform time, $t = U^p$: the larger the power, the more training happens near pure noise, where
    the image alone decides.

    The loss is *not* divided by the density of these times: the purpose is to change what training emphasises.

    **Arguments:**

    - `power`: the exponent p.

    **Raises:** `ValueError` unless the power is positive.
    """

    power: float = eqx.field(default=3.0, converter=number)

    def __check_init__(self):
        if not 0 < self.power < math.inf:
            raise ValueError(f"The power of the training times must be positive and finite; got {self.power}.")

    def quantile(self, level: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return level**self.power
