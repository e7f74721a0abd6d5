"""Predictions, completed and checked for contradictions."""

from .._choices import AbstractDecoder, AbstractSampler, Prediction, Start
from .._model import AbstractModel, name_of
from .decoder import DenoiserDecoder


def complete(
    model: AbstractModel,
    prediction: Prediction | None = None,
    *,
    start: Start | None = None,
    sampler: AbstractSampler | None = None,
    decoder: AbstractDecoder | None = None,
    draws: int | None = None,
    mirror: bool | None = None,
    shift: int | None = None,
) -> Prediction:
    """A prediction with some of its parts replaced; the model's default if none is given.

    A given sampler is meant to be followed: if the model's own decoder evaluates the network only at the start, as DT's
    does, and no other is given, the denoiser is read at the start of the last step.

    **Raises:** `ValueError` for a sampler with a decoder that does not follow it, and for draws that would all be the
    same, or fewer than one.
    """
    parts = {"start": start, "sampler": sampler, "decoder": decoder, "draws": draws, "mirror": mirror, "shift": shift}
    base = model.default_prediction if prediction is None else prediction
    if sampler is not None and prediction is None and decoder is None and not base.decoder.follows_sampler:
        base = base._replace(decoder=DenoiserDecoder())
    how = checked(base._replace(**{name: part for name, part in parts.items() if part is not None}))
    if sampler is not None and not how.decoder.follows_sampler:
        raise ValueError(
            f"{name_of(how.decoder)} asks the network where trajectories start, so {name_of(sampler)} would change "
            "nothing. Leave the sampler out, or give a decoder that follows it, such as DenoiserDecoder()."
        )
    return how


def checked(prediction: Prediction) -> Prediction:
    """A prediction whose parts have been checked, which a named tuple does not do.

    **Raises:** `ValueError` for draws that would all be the same, or fewer than one, and for a negative shift.
    """
    how = prediction_of(**prediction._asdict())
    if how.draws < 1:
        raise ValueError(f"A prediction needs at least one trajectory; got draws={how.draws}.")
    if how.shift < 0:
        raise ValueError(f"shift is a number of pixels, 0 for none; got {how.shift}.")
    moved = how.sampler.stochastic and how.decoder.t1(how.sampler) > 0
    if how.start == "mean" and how.draws > 1 and not moved:
        raise ValueError(
            f"From the mean, {how.draws} draws are all the same where no noise is added on the way; use draws=1, or "
            "start='noise'."
        )
    return how


def prediction_of(
    start: Start, sampler: AbstractSampler, decoder: AbstractDecoder, draws: int, mirror: bool, shift: int
) -> Prediction:
    return Prediction(start, sampler, decoder, draws, mirror, shift)
