"""What a prediction costs: the image branch runs once, and the evaluations reported are those that happen."""

import diffrax
import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pytest
from helpers import blobs, mlp_model

import noprop_ode as no


def pid(tolerance=1e-2):
    return diffrax.PIDController(rtol=tolerance, atol=tolerance)


SAMPLERS = {
    "ancestral": no.Ancestral(5),
    "one step": no.Ancestral(1),
    "euler": no.ODE(diffrax.Euler(), steps=5),
    "heun": no.ODE(diffrax.Heun(), steps=5),
    "midpoint": no.ODE(diffrax.Midpoint(), steps=4),
    "ralston": no.ODE(diffrax.Ralston(), steps=4),
    "tsit5": no.ODE(diffrax.Tsit5(), steps=3),
    "tsit5, adaptive": no.ODE(diffrax.Tsit5(), stepsize_controller=pid()),
    "bosh3, adaptive": no.ODE(diffrax.Bosh3(), stepsize_controller=pid()),
    "heun, adaptive": no.ODE(diffrax.Heun(), stepsize_controller=pid()),
}
DECODERS = {"readout": no.ReadoutDecoder(), "posterior": no.PosteriorDecoder(), "denoiser": no.DenoiserDecoder()}
# The readout and the posterior both need the last step and nothing else, so one sampler compares them.
CASES = [(name, decoder) for name in SAMPLERS for decoder in ("readout", "denoiser")] + [("heun", "posterior")]


def run(sampler, decoder, draws=1):
    model, (xs, _) = mlp_model(watch=True), blobs(1)
    how = no.Prediction("noise", sampler, decoder, draws)
    _, evaluations, results = eqx.filter_jit(no.predict_one)(model, xs[0], key=jr.key(0), prediction=how)
    jax.effects_barrier()
    assert np.asarray(diffrax.is_okay(results)).all()
    return float(evaluations), model.field


@pytest.mark.parametrize("sampler, decoder", CASES)
def test_the_evaluations_reported_are_those_that_happen(sampler, decoder):
    evaluations, watched = run(SAMPLERS[sampler], DECODERS[decoder])
    assert evaluations == watched.calls.n > 0
    assert watched.encodes.n == 1


@pytest.mark.parametrize("sampler", ["ancestral", "heun"])
def test_draws_share_the_features_and_nothing_else(sampler):
    evaluations, watched = run(SAMPLERS[sampler], DECODERS["readout"], draws=3)
    assert evaluations == watched.calls.n
    assert watched.encodes.n == 1


def test_a_solver_of_unknown_cost_says_so():
    """An implicit solver iterates, so its evaluations are not known in advance."""
    sampler = no.ODE(diffrax.Kvaerno3(), stepsize_controller=pid())
    assert np.isnan(run(sampler, DECODERS["readout"])[0])


def test_evaluation_reports_the_mean_cost_of_an_image(key):
    xs, ys = blobs(7)
    result = no.evaluate(mlp_model(), xs, ys, key=key, sampler=SAMPLERS["heun"], start="noise", draws=2, batch_size=3)
    assert result.num_evaluations == 2 * (2 * 4 + 1)
    assert result.num_examples == 7
