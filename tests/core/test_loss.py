"""The loss: which term trains what, and its weights, objectives and times."""

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import SCHEDULES, Simplex, blobs, mlp_model, one_hot_image, perfect_model, scalar
from scipy.stats import kstest

import noprop_ode as no


WEIGHTINGS = [no.ELBOWeighting(), no.UniformWeighting(), no.MinSNRWeighting(2.0), no.SigmoidWeighting(-1.0)]
OBJECTIVES = [no.SquaredError(), no.CrossEntropy()]
by_name = {"ids": lambda o: type(o).__name__}


def gradient(model, term, *, t=None, key=None):
    (xs, ys), key = blobs(1), jr.key(3) if key is None else key
    return eqx.filter_jit(eqx.filter_grad(lambda model: getattr(model.loss(xs[0], ys[0], key=key, t=t), term)))(model)


def largest(tree):
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))


def test_every_term_trains_its_own_part(key):
    """Exactly: the readout and the prior never reach the network, nor the denoising error the readout."""
    model = mlp_model(schedule=no.LearnedSchedule(-4.0, 1.0, key=key))  # an end where the readout may still err
    denoising, readout, prior = (gradient(model, term) for term in ("denoising", "readout", "prior"))
    assert largest(denoising.field) > 0 and largest(denoising.readout) == 0
    assert largest(readout.readout) > 0 and largest(readout.field) == 0
    assert largest(prior.field) == largest(prior.readout) == 0
    assert all(largest(grads.schedule) > 0 for grads in (denoising, readout, prior))


def test_the_total_is_the_sum():
    xs, ys = blobs(1)
    terms = mlp_model().loss(xs[0], ys[0], key=jr.key(0))
    assert float(terms.total) == pytest.approx(float(terms.denoising + terms.readout + terms.prior))


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_the_default_is_the_loss_of_the_paper(t):
    """Eq. 9 where every term is known: a denoiser that says class 1 of an example of class 2."""
    model = perfect_model()
    model = no.NoPropCT(model.field, embedding=model.embedding, schedule=model.schedule, eta=0.3)
    terms = model.loss(one_hot_image(1, 3), 2, key=jr.key(0), t=scalar(t))
    error = jnp.sum((Simplex()(1) - Simplex()(2)) ** 2)
    rate = jax.grad(model.schedule.snr)(scalar(t))
    assert float(terms.denoising) == pytest.approx(float(0.5 * 0.3 * rate * error), rel=1e-4)
    kl = no.kl_to_standard_normal(Simplex()(2), *model.schedule.alpha_sigma(scalar(0)))
    assert float(terms.prior) == pytest.approx(float(kl))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_elbo_weight_is_the_derivative_of_the_snr(name):
    schedule = SCHEDULES[name]()
    for t in map(scalar, (0.0, 0.3, 1.0)):
        assert float(no.ELBOWeighting()(schedule, t)) == pytest.approx(float(jax.grad(schedule.snr)(t)), rel=1e-3)


@pytest.mark.parametrize("weighting", WEIGHTINGS, **by_name)
@pytest.mark.parametrize("name", ["cosine", "learned"])
def test_the_weight_of_an_interval_tends_to_the_weight_of_its_time(name, weighting):
    with jax.enable_x64(True):
        schedule = jax.tree.map(lambda a: a.astype(jnp.float64) if eqx.is_array(a) else a, SCHEDULES[name]())
        for t in map(jnp.asarray, (0.0, 0.4, 0.9)):
            gaps = [abs(float(weighting.over(schedule, t, t + h) / weighting(schedule, t)) - 1) for h in (1e-2, 1e-5)]
            assert gaps[1] < 1e-3 and gaps[1] <= gaps[0]


def test_the_block_weight_of_the_paper_is_the_increment_times_the_blocks():
    schedule, blocks = no.CosineSchedule(), 10
    s, t = scalar(0.3), scalar(0.4)
    expected = blocks * (schedule.snr(t) - schedule.snr(s))
    assert float(no.ELBOWeighting().over(schedule, s, t)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    "objective, weighting",
    [(no.SquaredError, weighting) for weighting in WEIGHTINGS] + [(no.CrossEntropy, no.UniformWeighting())],
    ids=lambda o: getattr(o, "__name__", type(o).__name__),
)
def test_the_loss_is_finite_and_differentiable_at_both_ends(key, objective, weighting):
    model = mlp_model(schedule=no.LearnedSchedule(key=key), objective=objective(weighting))
    for t in (0.0, 1.0):
        grads = eqx.filter_jit(gradient)(model, "total", t=scalar(t))
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
        assert largest(grads.field) > 0


@pytest.mark.parametrize("objective", OBJECTIVES, **by_name)
def test_the_true_posterior_minimises_the_expected_error(objective):
    p = jnp.array([0.5, 0.2, 0.3], dtype=jnp.float32)

    def risk(logits):
        return sum(p[y] * objective.error(logits, y, Simplex()) for y in range(3))

    best = jnp.log(p)
    np.testing.assert_allclose(jax.jit(jax.grad(risk))(best), 0, atol=1e-6)
    others = best[None] + jr.normal(jr.key(0), (100, 3), jnp.float32)
    assert (jax.jit(jax.vmap(risk))(others) > jax.jit(risk)(best)).all()


def test_the_cross_entropy_is_minus_the_log_probability():
    logits = jnp.array([1.0, -2.0, 0.5], dtype=jnp.float32)
    for y in range(3):
        expected = -jnn.log_softmax(logits)[y]
        assert float(no.CrossEntropy().error(logits, y, no.OneHot(3))) == pytest.approx(float(expected))


def test_a_smoothed_label_is_shared_with_all_classes():
    share, y, embedding = 0.3, jnp.asarray(1), no.OneHot(3)
    error = no.CrossEntropy(smoothing=share).error
    target = jnp.array([0.1, 0.8, 0.1])
    for logits in (jnp.array([0.3, -1.0, 2.0]), jnp.zeros(3, jnp.float32)):
        np.testing.assert_allclose(error(logits, y, embedding), -target @ jnn.log_softmax(logits), rtol=1e-5)
    # The smoothed target is where it is least.
    np.testing.assert_allclose(jax.grad(error)(jnp.log(target), y, embedding), 0, atol=1e-6)
    assert float(no.CrossEntropy(smoothing=0.0).error(logits, y, embedding)) == pytest.approx(np.log(3))


def test_what_the_state_says_is_not_smoothed():
    y, embedding, skip = jnp.asarray(1), no.OneHot(3), jnp.array([-40.0, 40.0, -40.0])
    smoothed = no.CrossEntropy(smoothing=0.1)
    # The evidence decides: what is left of the error is the doubt of the image, least where the image says nothing.
    zero = jnp.zeros(3, jnp.float32)
    assert float(smoothed.error(zero, y, embedding, skip=skip)) == pytest.approx(0.1 * np.log(3))
    np.testing.assert_allclose(jax.grad(lambda own: smoothed.error(own, y, embedding, skip=skip))(zero), 0, atol=1e-6)
    for objective in (no.CrossEntropy(), no.SquaredError()):
        own = jnp.array([0.3, -1.0, 2.0])
        assert objective.error(own, y, embedding, skip=skip) == objective.error(own + skip, y, embedding)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_of_a_smoothed_label_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r"in \[0, 1\); got smoothing"):
        no.CrossEntropy(smoothing=share)


TIMES = [no.UniformTimes(), no.PowerTimes(3.0), no.PowerTimes(0.5)]


def level(times, ts):
    return np.asarray(ts, np.float64) ** (1 / getattr(times, "power", 1.0))


@pytest.mark.parametrize("times", TIMES, ids=["uniform", "cubic", "root"])
def test_stratified_times_have_one_in_each_stratum(key, times):
    n = 16
    ts = jax.vmap(lambda key: times.stratified(n, key=key))(jr.split(key, 50))
    assert ((ts >= 0) & (ts <= 1)).all()
    strata = np.floor(np.sort(level(times, ts), axis=1) * n + 1e-4)
    np.testing.assert_array_equal(strata, np.tile(np.arange(n), (50, 1)))


@pytest.mark.parametrize("times", TIMES, ids=["uniform", "cubic", "root"])
def test_each_stratified_time_has_the_whole_distribution(key, times):
    ts = jax.vmap(lambda key: times.stratified(8, key=key))(jr.split(key, 2000))
    for i in (0, 5):
        assert kstest(level(times, ts[:, i]), "uniform").pvalue > 1e-4


def test_the_batch_loss_is_the_mean_over_its_times(key):
    """With a constant error and the weight linear in time, the mean over strata is that of the weight, nearly."""
    embedding, schedule = no.OneHot(3), no.LinearSchedule(0.0, 1.0)
    model = no.NoPropCT(perfect_model().field, embedding=embedding, schedule=schedule)
    xs = jnp.stack([one_hot_image(1, 3)] * 512)
    terms = model.batch_loss(xs, jnp.full(512, 2), key=key)
    mean_rate = np.e - 1  # the integral of SNR' over [0, 1]; the error of a wrong class is 1/2 |u_1 - u_2|^2 = 1
    assert float(terms.denoising) == pytest.approx(mean_rate, rel=2e-3)


STATES = [
    lambda field, n: no.NoPropDT(
        no.Blocks(lambda _: field, 1, key=jr.key(0)),
        embedding=no.OneHot(3),
        objective=no.CrossEntropy(),
        states_per_image=n,
    ),
    lambda field, n: no.NoPropCT(field, embedding=no.OneHot(3), objective=no.CrossEntropy(), states_per_image=n),
    lambda field, n: no.NoPropFM(field, embedding=no.OneHot(3), states_per_image=n),
]


@pytest.mark.parametrize("make", STATES, ids=["dt", "ct", "fm"])
def test_several_states_share_the_encoding_of_their_image(make, key):
    model = make(field := mlp_model(watch=True).field, 5)
    jax.block_until_ready(eqx.filter_jit(lambda model: model.batch_loss(*blobs(4), key=key))(model))
    jax.effects_barrier()
    assert (field.encodes.n, field.calls.n) == (4, 4 * 5)


@pytest.mark.parametrize("make", STATES, ids=["dt", "ct", "fm"])
def test_several_states_leave_the_gradient_as_it_is_on_average_and_calm_it(make, key):
    field, (xs, ys) = mlp_model().field, blobs(4)

    def gradients(states):
        @eqx.filter_jit
        def one(key):
            grads = eqx.filter_grad(lambda m: m.batch_loss(xs, ys, key=key).total)(make(field, states))
            return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])

        return np.asarray(jax.lax.map(one, jr.split(jr.fold_in(key, states), 400)), np.float64)

    one, eight = gradients(1), gradients(8)
    error = np.sqrt((one.var(axis=0) + eight.var(axis=0)) / 400)
    assert (np.abs(one.mean(axis=0) - eight.mean(axis=0)) <= 5 * error + 1e-6).all()
    assert eight.var(axis=0).sum() < one.var(axis=0).sum() / 4


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: no.MinSNRWeighting(0.0), "cap of a min-SNR weight"),
        (lambda: no.PowerTimes(-1.0), "power of the training times"),
        (lambda: mlp_model(eta=0.0), "eta multiplies the denoising term"),
        (lambda: mlp_model(states_per_image=0), "at least one noisy state"),
        (lambda: no.OneHot(1), "at least 2 classes"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
