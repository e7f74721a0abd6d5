"""The ways of predicting that variants share."""

import diffrax

from .._choices import Prediction
from .._prediction.decoder import DenoiserDecoder, ReadoutDecoder
from .._prediction.ensemble import EnsembleDecoder
from .._samplers.ancestral import Ancestral
from .._samplers.ode import ODE


def one_ddim_step() -> Prediction:
    """From the mean one deterministic step, read from the denoiser: the network's own p(y | x)."""
    return Prediction("mean", Ancestral(1, churn=0.0), DenoiserDecoder())


def low_snr_blocks(num_blocks: int) -> Prediction:
    """From the mean the half of the blocks that has the lower SNR, averaged. They were shown states that say little of
    the class, and so look at the image."""
    times = [k / num_blocks for k in range((num_blocks + 1) // 2)]
    return one_ddim_step()._replace(decoder=EnsembleDecoder(times))


def one_euler_step() -> Prediction:
    """The same without a Gaussian path."""
    return Prediction("mean", ODE(diffrax.Euler(), steps=1), DenoiserDecoder())


def few_euler_draws() -> Prediction:
    """From four draws of noise one Euler step each. A straight line from any start ends at the same mean of embeddings;
    zero, which is far from every draw in many dimensions, is a state that flow matching is never shown."""
    return Prediction("noise", ODE(diffrax.Euler(), steps=1), DenoiserDecoder(), draws=4)


def many_euler_steps() -> Prediction:
    """The paper's way in continuous time; it leaves the number of steps open, and 1000 are as good as exact."""
    return Prediction("noise", ODE(diffrax.Euler(), steps=1000), ReadoutDecoder())


def gaussian_protocols(paper: Prediction) -> dict[str, Prediction]:
    """What DT and CT are compared in."""
    ddim = Ancestral(10, churn=0.0)
    return {
        "noise ddim-1": Prediction("noise", Ancestral(1, churn=0.0), DenoiserDecoder()),
        "noise ddim-10": Prediction("noise", ddim, DenoiserDecoder()),
        "noise ddim-10 x16": Prediction("noise", ddim, DenoiserDecoder(), draws=16),
        "noise ancestral-10": Prediction("noise", Ancestral(10), DenoiserDecoder()),
        **_accurate_solvers(),
        "paper": paper,
    }


def flow_protocols(paper: Prediction) -> dict[str, Prediction]:
    """What FM is compared in."""
    euler = ODE(diffrax.Euler(), steps=10)
    return {
        "mean euler-1": one_euler_step(),
        "noise euler-1": Prediction("noise", ODE(diffrax.Euler(), steps=1), DenoiserDecoder()),
        "noise euler-10": Prediction("noise", euler, DenoiserDecoder()),
        "noise euler-10 x16": Prediction("noise", euler, DenoiserDecoder(), draws=16),
        **_accurate_solvers(),
        "paper": paper,
    }


def _accurate_solvers() -> dict[str, Prediction]:
    adaptive = ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3))
    return {
        "noise heun-20": Prediction("noise", ODE(diffrax.Heun(), steps=20), ReadoutDecoder()),
        "noise tsit5": Prediction("noise", adaptive, ReadoutDecoder()),
    }
