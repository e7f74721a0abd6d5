"""A noise schedule."""

import jax
import jax.numpy as jnp
import numpy as np

from ... import AbstractNoiseSchedule
from ..._types import AnyPath
from . import _canvas


def plot_schedule(path: AnyPath, schedule: AbstractNoiseSchedule) -> None:
    """The log-SNR of a schedule, and its signal and noise amplitudes, against time.

    **Arguments:** the image file to write, and the schedule.
    """
    ts = jnp.linspace(0, 1, 201, dtype=jnp.float32)
    log_snrs = np.asarray(jax.vmap(schedule.log_snr)(ts))
    alphas, sigmas = map(np.asarray, jax.vmap(schedule.alpha_sigma)(ts))
    figure = _canvas.new_figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    left.plot(np.asarray(ts), log_snrs)
    left.set(xlabel="time t", ylabel="log-SNR (nats)", title="signal to noise", xlim=(0, 1))
    right.plot(np.asarray(ts), alphas, label="signal α")
    right.plot(np.asarray(ts), sigmas, label="noise σ")
    right.set(xlabel="time t", ylabel="amplitude", title="amplitudes", xlim=(0, 1))
    right.legend(frameon=False)
    _canvas.tidy((left, right))
    figure.suptitle(type(schedule).__name__, fontsize=11)
    _canvas.save(figure, path)
