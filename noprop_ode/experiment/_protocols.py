"""The ways of predicting that the final evaluation compares."""

from typing import Any

import diffrax

from .. import ODE, Ancestral, DenoiserDecoder, ReadoutDecoder


def protocols(evaluation_steps: int = 1000, names: tuple[str, ...] | None = None) -> dict[str, dict[str, Any]]:
    """Named arguments of [`noprop_ode.evaluate`][]: start, sampler, draws and decoder.

    **Arguments:**

    - `evaluation_steps`: Euler steps of the paper's protocol.
    - `names`: which to give, besides `"default"`; all if not given.

    **Returns:** a dictionary by name; `"default"` is what the library does when nothing is chosen, and
    `"paper"` is the paper's: one draw of noise, many Euler steps, the linear readout.

    **Raises:** `ValueError` for a name that is none of them.
    """
    denoiser, readout = DenoiserDecoder(), ReadoutDecoder()
    heun = ODE(diffrax.Heun(), steps=20)
    tsit5 = ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3))
    paper = ODE(diffrax.Euler(), steps=evaluation_steps)
    known = {
        "default": {},
        "noise ddim-1": _how("noise", Ancestral(1, churn=0.0), denoiser),
        "noise ddim-10": _how("noise", Ancestral(10, churn=0.0), denoiser),
        "noise ddim-10 x16": _how("noise", Ancestral(10, churn=0.0), denoiser, 16),
        "noise ancestral-10": _how("noise", Ancestral(10), denoiser),
        "noise heun-20": _how("noise", heun, readout),
        "noise tsit5": _how("noise", tsit5, readout),
        "paper": _how("noise", paper, readout),
    }
    if names is None:
        return known
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"Unknown protocols {unknown}; choose from {sorted(known)}.")
    return {name: how for name, how in known.items() if name == "default" or name in names}


def _how(start: str, sampler: Any, decoder: Any, draws: int = 1) -> dict[str, Any]:
    return {"start": start, "sampler": sampler, "decoder": decoder, "draws": draws}
