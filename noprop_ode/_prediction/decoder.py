"""Where a prediction takes its class probabilities from."""

from typing import ClassVar

from .._choices import AbstractDecoder, AbstractSampler, Sample
from .._model import AbstractMarginalModel, AbstractModel, name_of
from .._types import Features, LogProbs


class ReadoutDecoder(AbstractDecoder):
    """The model's own readout at t = 1: the paper's choice."""

    num_evaluations: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]

    def t1(self, sampler: AbstractSampler) -> float:
        """1: the whole trajectory is run."""
        return 1.0

    def asks_at(self, sampler: AbstractSampler) -> tuple[float, ...]:
        """No times: the vector field is not evaluated."""
        return ()

    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
        return model.readout(end.z, model.embedding)


class PosteriorDecoder(AbstractDecoder):
    """The closed-form Bayes posterior of the last marginal, [`noprop_ode.marginal_log_posterior`][]; no training.

    [`noprop_ode.NoPropFM`][] has one only if `sigma` is positive (else `ValueError`), the baselines none (`TypeError`).
    """

    num_evaluations: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]

    def t1(self, sampler: AbstractSampler) -> float:
        """1: the whole trajectory is run."""
        return 1.0

    def asks_at(self, sampler: AbstractSampler) -> tuple[float, ...]:
        """No times: the vector field is not evaluated."""
        return ()

    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
        """The exact class posterior of the state reached.

        **Raises:** `TypeError` for a model without a known marginal.
        """
        if not isinstance(model, AbstractMarginalModel):
            raise TypeError(
                f"PosteriorDecoder needs a known Gaussian marginal at t = 1, and {name_of(model)} has none. Use "
                "ReadoutDecoder() with it."
            )
        return model.end_log_posterior(end.z)


class DenoiserDecoder(AbstractDecoder):
    """The network's own class posterior at the start of the last step: its softmax in DT and CT.

    The evaluation made here replaces the last step. With one step from the mean it is the network's $p(y | x)$ itself,
    undistorted by any draw.

    With adaptive steps, the last step is not known in advance: the network is then evaluated after the whole
    trajectory, at t = 1, where it names the sampled class with near certainty. With them, use
    [`noprop_ode.ReadoutDecoder`][].
    """

    num_evaluations: ClassVar[int] = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    def t1(self, sampler: AbstractSampler) -> float:
        """The start of the sampler's last step."""
        return sampler.last_step_start

    def asks_at(self, sampler: AbstractSampler) -> tuple[float, ...]:
        """Once, at the start of the sampler's last step."""
        return (sampler.last_step_start,)

    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
        return model.log_posterior(end.t, end.z, features)
