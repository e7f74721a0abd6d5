"""The predictions that variants share."""

import diffrax

from .._choices import Prediction
from .._prediction.decoder import DenoiserDecoder, ReadoutDecoder
from .._prediction.ensemble import EnsembleDecoder
from .._samplers.ancestral import Ancestral
from .._samplers.ode import ODE


def one_ddim_step() -> Prediction:
    """One deterministic step from the mean, read from the denoiser: the network's own p(y | x)."""
    return Prediction("mean", Ancestral(1, churn=0.0), DenoiserDecoder())


def low_snr_blocks(num_blocks: int) -> Prediction:
    """The average, at the mean, over the half of the blocks with the lower SNR. They were trained on states that say
    little about the class, and so rely on the image."""
    times = [k / num_blocks for k in range((num_blocks + 1) // 2)]
    return one_ddim_step()._replace(decoder=EnsembleDecoder(times))


def one_euler_step() -> Prediction:
    """One Euler step from the mean, for models without a Gaussian path."""
    return Prediction("mean", ODE(diffrax.Euler(), steps=1), DenoiserDecoder())


def few_euler_draws() -> Prediction:
    """One Euler step from each of four draws of noise. A straight line from any start ends at the same mean of
    embeddings, but zero, far from every draw in many dimensions, is a state that flow matching never sees."""
    return Prediction("noise", ODE(diffrax.Euler(), steps=1), DenoiserDecoder(), draws=4)


def many_euler_steps() -> Prediction:
    """The paper's prediction in continuous time: 1000 Euler steps and the readout."""
    return Prediction("noise", ODE(diffrax.Euler(), steps=1000), ReadoutDecoder())


def gaussian_protocols(paper: Prediction) -> dict[str, Prediction]:
    """The predictions in which DT and CT are compared."""
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
    """The predictions in which FM is compared."""
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
