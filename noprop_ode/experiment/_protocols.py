"""The ways of predicting that the final evaluation compares."""

from typing import Any

import diffrax

from .. import ODE, AbstractModel, Prediction
from ._config import Config
from ._errors import ConfigError, did_you_mean


def protocols(config: Config, model: AbstractModel, prediction: Prediction) -> dict[str, dict[str, Any]]:
    """Named arguments of [`noprop_ode.evaluate`][]: start, sampler, draws and decoder.

    **Arguments:**

    - `config`: the settings; `prediction.protocols` chooses among those that suit the variant.
    - `model`: the model, whose protocols they are.
    - `prediction`: the default one, from [`noprop_ode.experiment.build_prediction`][].

    **Returns:** a dictionary by name; `"default"` is what the settings say, which is the model's own way if they
    say nothing, and `"paper"` is the paper's: one draw of noise, many Euler steps (CT and FM) or the T ancestral
    steps (DT), the readout.

    **Raises:** `ConfigError` for a name that is none of them.
    """
    known = {"default": prediction._asdict(), **_others(config, model)}
    names = config.prediction.protocols
    if names is None:
        return known
    for name in names:
        if name not in known:
            raise ConfigError(
                f"prediction.protocols: {name!r} is no protocol of {config.model.variant.type}. "
                f"{did_you_mean(name, known)}"
            )
    return {name: how for name, how in known.items() if name == "default" or name in names}


def _others(config: Config, model: AbstractModel) -> dict[str, dict[str, Any]]:
    found = dict(model.protocols)
    if "paper" in found and isinstance(found["paper"].sampler, ODE):
        steps = config.prediction.paper_steps
        found["paper"] = found["paper"]._replace(sampler=ODE(diffrax.Euler(), steps=steps))
    return {name: how._asdict() for name, how in found.items()}
