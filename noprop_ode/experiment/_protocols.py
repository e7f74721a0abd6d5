"""The ways of predicting that the final evaluation compares."""

from typing import Any

import diffrax

from .. import ODE, Ancestral, DenoiserDecoder, Prediction, ReadoutDecoder
from ._config import Config
from ._errors import ConfigError, did_you_mean


def protocols(config: Config, prediction: Prediction) -> dict[str, dict[str, Any]]:
    """Named arguments of [`noprop_ode.evaluate`][]: start, sampler, draws and decoder.

    **Arguments:**

    - `config`: the settings; `prediction.protocols` chooses among those that suit the variant.
    - `prediction`: the default one, from [`noprop_ode.experiment.build_prediction`][].

    **Returns:** a dictionary by name; `"default"` is what the settings say, which is the model's own way if they
    say nothing, and `"paper"` is the paper's: one draw of noise, many Euler steps (CT and FM) or the T ancestral
    steps (DT), the readout.

    **Raises:** `ConfigError` for a name that is none of them.
    """
    known = {"default": {**prediction._asdict(), "draws": config.prediction.draws}, **_others(config)}
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


def _others(config: Config) -> dict[str, dict[str, Any]]:
    denoiser, readout = DenoiserDecoder(), ReadoutDecoder()
    heun = ODE(diffrax.Heun(), steps=20)
    tsit5 = ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3))
    paper = ODE(diffrax.Euler(), steps=config.prediction.paper_steps)
    match config.model.variant.type:
        case "fm":
            euler = ODE(diffrax.Euler(), steps=10)
            return {
                "noise euler-1": _how(ODE(diffrax.Euler(), steps=1), denoiser),
                "noise euler-10": _how(euler, denoiser),
                "noise euler-10 x16": _how(euler, denoiser, 16),
                "noise heun-20": _how(heun, readout),
                "noise tsit5": _how(tsit5, readout),
                "paper": _how(paper, readout),
            }
        case "dt":
            paper = Ancestral(config.model.variant.settings["num_blocks"])
        case "backprop" | "adjoint":
            return {}  # they have one way
    return {
        "noise ddim-1": _how(Ancestral(1, churn=0.0), denoiser),
        "noise ddim-10": _how(Ancestral(10, churn=0.0), denoiser),
        "noise ddim-10 x16": _how(Ancestral(10, churn=0.0), denoiser, 16),
        "noise ancestral-10": _how(Ancestral(10), denoiser),
        "noise heun-20": _how(heun, readout),
        "noise tsit5": _how(tsit5, readout),
        "paper": _how(paper, readout),
    }


def _how(sampler: Any, decoder: Any, draws: int = 1) -> dict[str, Any]:
    return {"start": "noise", "sampler": sampler, "decoder": decoder, "draws": draws}
