"""The ways of predicting that the final evaluation compares."""

from typing import Any

import diffrax

from .. import ODE, Ancestral, DenoiserDecoder, ReadoutDecoder


def protocols(evaluation_steps: int = 1000, *, compare: bool = True) -> dict[str, dict[str, Any]]:
    """Named arguments of [`noprop_ode.evaluate`][]: start, sampler, draws and decoder.

    **Arguments:**

    - `evaluation_steps`: Euler steps of the paper's protocol.
    - `compare`: if false, only the default and the paper's.

    **Returns:** a dictionary by name; `"default"` is what the library does when nothing is chosen, and
    `"paper"` is the paper's: one draw of noise, many Euler steps, the linear readout.
    """
    denoiser, readout = DenoiserDecoder(), ReadoutDecoder()
    heun = ODE(diffrax.Heun(), steps=20)
    tsit5 = ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3))
    paper = ODE(diffrax.Euler(), steps=evaluation_steps)
    between = {
        "mean ddim-10": _how("mean", Ancestral(10, churn=0.0), denoiser),
        "noise ddim-1": _how("noise", Ancestral(1, churn=0.0), denoiser),
        "noise ddim-1 x16": _how("noise", Ancestral(1, churn=0.0), denoiser, 16),
        "noise ddim-10": _how("noise", Ancestral(10, churn=0.0), denoiser),
        "noise ddim-10 x16": _how("noise", Ancestral(10, churn=0.0), denoiser, 16),
        "noise ancestral-10": _how("noise", Ancestral(10), denoiser),
        "noise heun-20": _how("noise", heun, readout),
        "noise tsit5": _how("noise", tsit5, readout),
    }
    return {"default": {}, **(between if compare else {}), "paper": _how("noise", paper, readout)}


def _how(start: str, sampler: Any, decoder: Any, draws: int = 1) -> dict[str, Any]:
    return {"start": start, "sampler": sampler, "decoder": decoder, "draws": draws}
