"""Several estimates of p(y | x) from one model, combined."""

import math
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp

from .._choices import AbstractDecoder, AbstractSampler, Sample
from .._gaussian import AbstractGaussianModel
from .._labels.readout import evidence
from .._model import AbstractModel, name_of
from .._numbers import number
from .._sizes import class_logits
from .._types import Features, LogProbs


class EnsembleDecoder(AbstractDecoder):
    r"""The denoiser's estimates of p(y | x) at several times, averaged: the default of [`noprop_ode.NoPropDT`][] with
    one-hot labels, at the times of the first half of its blocks.

    The optimal denoiser is $\log p(y | x, z_t) = \log p(y | x) + e_t(z_t)_y + \mathrm{const}$ with the
    [`noprop_ode.evidence`][] $e_t$, so at every time its logits minus the evidence are an estimate of the same
    $\log p(y | x)$. In DT, each block gives one from its own, separately trained network: an ensemble at no extra
    training cost. The estimates are normalised, and their logarithms averaged:

    $$\log p(y | x) = \sum_k w_k \left[\log \mathrm{softmax}\big(\ell(t_k, z, x) - e_{t_k}(z)\big)\right]_y +
    \mathrm{const}.$$

    No trajectory is run: z is where one would start, and the mean, z = 0, says nothing about the class. At times of
    high SNR, the network has never seen such a state and did not need the image, so its estimates are poor; choose the
    times on validation images, low SNR first, or let [`noprop_ode.fit_ensemble`][] weight them.
    """

    follows_sampler: ClassVar[bool] = False
    times: tuple[float, ...] = eqx.field(static=True)
    weights: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, times: Sequence[float], weights: Sequence[float] | None = None):
        """**Arguments:**

        - `times`: when to evaluate the denoiser, in [0, 1]; block k of T, counted from 0, owns the time k / T.
        - `weights`: one for each time, scaled here to a sum of one; equal if not given.

        **Raises:** `ValueError` for no time, times out of range, or weights that are negative, all zero, not finite in
        sum, or not one for each time.
        """
        weights = [1.0] * len(times) if weights is None else weights
        if not times or not all(0 <= t <= 1 for t in times):
            raise ValueError(f"Expected one or more times in [0, 1]; got times={list(times)}.")
        if len(weights) != len(times) or not all(w >= 0 for w in weights) or not 0 < sum(weights) < math.inf:
            raise ValueError(
                f"Expected a weight for each of the {len(times)} times, none negative, not all zero, and of a finite "
                f"sum; got weights={list(weights)}."
            )
        self.times = tuple(map(number, times))
        self.weights = tuple(number(w / sum(weights)) for w in weights)

    @property
    def num_evaluations(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One for each time."""
        return len(self.times)

    def t1(self, sampler: AbstractSampler) -> float:
        """0: no trajectory is run."""
        return 0.0

    def asks_at(self, sampler: AbstractSampler) -> tuple[float, ...]:
        """The times of the ensemble."""
        return self.times

    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
        """The average of the estimates.

        **Raises:** `TypeError` for a model without a Gaussian path, whose evidence is not known.
        """
        if not isinstance(model, AbstractGaussianModel):
            raise TypeError(
                f"EnsembleDecoder takes away the evidence of a Gaussian path, and {name_of(model)} has none. Use "
                "DenoiserDecoder() with it."
            )
        total = jnp.zeros(model.embedding.num_classes, jnp.float32)
        for time, weight in zip(self.times, self.weights):
            t = jnp.asarray(time, jnp.float32)
            # What the model would add is subtracted before it is added: at high SNR it is so large that the network's
            # own logits would be lost to rounding. What all classes have in common does not matter.
            state = evidence(end.z, t, model.schedule, model.embedding) - model.skip(t, end.z)
            own = class_logits(model.field, t, end.z, features, model.embedding) - (state - jnp.max(state))
            total += weight * jnn.log_softmax(own)
        return jnn.log_softmax(total)
