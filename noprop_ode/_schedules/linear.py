"""A log-SNR linear in time."""

import equinox as eqx

from .._numbers import number
from .._types import Scalar
from .base import AbstractNoiseSchedule, check_ends


class LinearSchedule(AbstractNoiseSchedule):
    r"""Log-SNR linear in time: $\lambda(t) = \lambda_0 + (\lambda_1 - \lambda_0) t$.

    **Arguments:**

    - `log_snr_0`, `log_snr_1`: the log-SNR at t = 0 and t = 1, in nats.

    **Raises:** `ValueError` unless the ends are ordered and within [-80, 40].
    """

    log_snr_0: float = eqx.field(default=-7.0, converter=number)
    log_snr_1: float = eqx.field(default=7.0, converter=number)

    def __check_init__(self):
        check_ends(self.log_snr_0, self.log_snr_1)

    def log_snr(self, t: Scalar) -> Scalar:
        return self.log_snr_0 + (self.log_snr_1 - self.log_snr_0) * t
