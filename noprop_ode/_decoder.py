from typing import ClassVar

from ._model import AbstractDecoder, AbstractModel, Sample
from ._types import Features, LogProbs


class ReadoutDecoder(AbstractDecoder):
    """The model's own readout at t = 1: the paper's choice."""

    last_step: ClassVar[bool] = True
    num_evaluations: ClassVar[int] = 0

    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
        """See [`noprop_ode.AbstractDecoder.__call__`][]."""
        return model.readout(end.z, model.embedding)


class PosteriorDecoder(AbstractDecoder):
    """The closed-form Bayes posterior of the last marginal, [`noprop_ode.marginal_log_posterior`][]; no training."""

    last_step: ClassVar[bool] = True
    num_evaluations: ClassVar[int] = 0

    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
        """See [`noprop_ode.AbstractDecoder.__call__`][]."""
        return model.end_log_posterior(end.z)


class DenoiserDecoder(AbstractDecoder):
    """The network's own class posterior where the last step begins: its softmax in DT and CT.

    The evaluation made here takes the place of the last step. With one step from the mean start it is the
    network's $p(y | x)$ itself, undistorted by any draw.
    """

    last_step: ClassVar[bool] = False
    num_evaluations: ClassVar[int] = 1

    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
        """See [`noprop_ode.AbstractDecoder.__call__`][]."""
        return model.log_posterior(end.t, end.z, features)
