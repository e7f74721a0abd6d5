"""From the end of a trajectory to class probabilities."""

import diffrax
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Simplex, mlp_model, oracle_model, scalar
from scipy.stats import norm

import noprop_ode as no


SCHEDULE = no.LinearSchedule(-4.0, 1.0)  # a posterior that is not saturated at the end
DECODERS = [no.ReadoutDecoder(), no.PosteriorDecoder(), no.DenoiserDecoder()]
FEATURES = jnp.log(jnp.array([0.5, 0.2, 0.3], dtype=jnp.float32))


def model():
    return oracle_model(Simplex(), SCHEDULE)


def end(z):
    return no.Sample(scalar(1), z, scalar(0), diffrax.RESULTS.successful)


def bayes(z, t):
    """Brute force, float64: the density of every class, normalised."""
    log_snr = float(SCHEDULE.log_snr(scalar(t)))
    alpha, sigma = (1 + np.exp(-log_snr)) ** -0.5, (1 + np.exp(log_snr)) ** -0.5
    densities = norm.pdf(np.asarray(z, np.float64), alpha * np.asarray(Simplex().rows, np.float64), sigma).prod(axis=1)
    return densities / densities.sum()


@pytest.mark.parametrize("seed", range(4))
def test_the_posterior_is_that_of_bayes(seed):
    z = 2 * jr.normal(jr.key(seed), (2,), jnp.float32)
    np.testing.assert_allclose(np.exp(no.PosteriorDecoder()(model(), end(z), FEATURES)), bayes(z, 1.0), rtol=1e-4)
    for t in (0.0, 0.5):
        log_p = no.marginal_log_posterior(z, scalar(t), SCHEDULE, Simplex())
        np.testing.assert_allclose(np.exp(log_p), bayes(z, t), rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_linear_readout_starts_at_the_posterior(seed):
    z = 2 * jr.normal(jr.key(seed), (2,), jnp.float32)
    expected = no.marginal_log_posterior(z, scalar(1), SCHEDULE, Simplex())
    np.testing.assert_allclose(no.marginal_readout(SCHEDULE, Simplex())(z, Simplex()), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(no.ReadoutDecoder()(model(), end(z), FEATURES), expected, rtol=1e-5, atol=1e-6)


def test_the_denoiser_decoder_is_the_softmax_of_the_field_where_the_trajectory_stands():
    z = jnp.array([0.3, -0.7], dtype=jnp.float32)
    here = no.Sample(scalar(0.4), z, scalar(3), diffrax.RESULTS.successful)
    expected = jnn.log_softmax(FEATURES + no.evidence(z, scalar(0.4), SCHEDULE, Simplex()))
    np.testing.assert_allclose(no.DenoiserDecoder()(model(), here, FEATURES), expected, atol=1e-6)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: type(d).__name__)
def test_probabilities_are_normalised(key, decoder):
    xs = jr.uniform(key, (5, 2, 2, 1), jnp.float32)
    how = {"sampler": no.Ancestral(1), "start": "noise", "draws": 3, "decoder": decoder}
    log_p = no.predict_log_proba(mlp_model(), xs, key=key, **how)
    np.testing.assert_allclose(jnn.logsumexp(log_p, axis=1), 0, atol=1e-5)


def test_draws_average_probabilities(key):
    """And not their logarithms; one draw of the average is one trajectory from its own noise."""
    classifier, x, draws = mlp_model(schedule=SCHEDULE), jr.uniform(key, (2, 2, 1), jnp.float32), 4
    sampler, decoder = no.Ancestral(2, churn=0.0), no.ReadoutDecoder()
    how = no.Prediction("noise", sampler, decoder, draws)
    log_p, _, results = no.predict_one(classifier, x, key=key, prediction=how)
    features = classifier.field.encode(x)

    def one(key):
        z0 = jr.normal(jr.split(key)[0], (3,), jnp.float32)
        return jnp.exp(decoder(classifier, sampler.sample(classifier, z0, features, key=key), features))

    each = jax.vmap(one)(jr.split(key, draws))
    assert np.ptp(np.asarray(each), axis=0).max() > 1e-3
    np.testing.assert_allclose(np.exp(log_p), np.mean(each, axis=0), rtol=1e-4)
    assert jax.tree.leaves(results)[0].shape == (draws,)


def test_from_the_mean_a_deterministic_prediction_has_no_randomness(key):
    classifier, x = mlp_model(), jr.uniform(key, (2, 2, 1), jnp.float32)
    expected = classifier.log_posterior(scalar(0), jnp.zeros(3, jnp.float32), classifier.field.encode(x))
    for seed in (0, 1):
        log_p = no.predict_log_proba(classifier, x[None], key=jr.key(seed), start="mean")
        np.testing.assert_allclose(log_p[0], expected, rtol=1e-5, atol=1e-6)


def test_calling_a_model_is_the_protocol_of_the_paper(key):
    """One draw of noise, the sampler, the readout: the same law as `predict_one`, here with a key in common."""
    classifier, x = mlp_model(), jr.uniform(key, (2, 2, 1), jnp.float32)
    log_p = classifier(x, key=key, sampler=no.Ancestral(3, churn=0.0))
    z0 = jr.normal(jr.split(key)[0], (3,), jnp.float32)
    z1 = no.Ancestral(3, churn=0.0).sample(classifier, z0, classifier.field.encode(x), key=key).z
    np.testing.assert_allclose(log_p, classifier.readout(z1, classifier.embedding), rtol=1e-5, atol=1e-5)


def test_prediction_takes_the_most_probable_class(key):
    classifier, xs = mlp_model(), jr.uniform(key, (6, 2, 2, 1), jnp.float32)
    log_p = no.predict_log_proba(classifier, xs, key=key)
    np.testing.assert_array_equal(no.predict(classifier, xs, key=key), np.argmax(log_p, axis=1))


TIMES = (0.0, 0.25, 0.5)


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("start", ["mean", "noise"])
def test_an_ensemble_of_perfect_denoisers_is_the_image_alone(key, start, weights):
    """Whatever the state and the time: what the state says is taken away, and the image says the same everywhere."""
    images = jnp.stack([FEATURES, FEATURES[::-1]]).reshape(2, 1, 1, 3)
    how = {"start": start, "decoder": no.EnsembleDecoder(TIMES, weights)}
    log_p = no.predict_log_proba(model(), images, key=key, **how)
    np.testing.assert_allclose(log_p, images.reshape(2, 3), atol=1e-5)
    assert no.evaluate(model(), images, [0, 2], key=key, **how).num_evaluations == 3


@pytest.mark.parametrize("skip", [True, False])
def test_an_ensemble_averages_logarithms_with_its_weights(skip):
    classifier, x = mlp_model(schedule=SCHEDULE, evidence_skip=skip), jnp.full((1, 2, 2, 1), 0.3, jnp.float32)
    features, z = classifier.field.encode(x[0]), jnp.zeros(3, jnp.float32)
    each = [jnn.log_softmax(classifier.field(scalar(t), z, features)) for t in TIMES]
    expected = jnn.log_softmax((each[0] + each[1] + 2 * each[2]) / 4)
    log_p = no.predict_log_proba(classifier, x, key=jr.key(0), decoder=no.EnsembleDecoder(TIMES, [1, 1, 2]))
    np.testing.assert_allclose(log_p[0], expected, atol=1e-5)


class Late(no.AbstractDecoder):
    """One of a user's own, which asks a later block from the start, and may say so or not."""

    num_evaluations: int
    says: bool

    def t1(self, sampler):
        return 0.0

    def asks_at(self, sampler):
        return (0.5,) if self.says else None

    def __call__(self, model, end, features):
        return model.log_posterior(scalar(0.5), end.z, features)


@pytest.mark.parametrize("says", [True, False])
def test_a_decoder_finds_the_features_of_the_blocks_it_asks(key, says):
    blocks = no.Blocks(lambda k: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=k), 4, key=jr.key(1))
    classifier, x = no.NoPropDT(blocks, embedding=no.OneHot(3)), jr.uniform(key, (2, 2, 1), jnp.float32)
    features = classifier.field.encode(x)
    expected = classifier.log_posterior(scalar(0.5), jnp.zeros(3, jnp.float32), features)
    log_p = no.predict_log_proba(classifier, x[None], key=key, start="mean", decoder=Late(1, says))
    np.testing.assert_allclose(log_p[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([],), r"one or more times in \[0, 1\]; got times=\[\]"),
        (([0.5, 1.5],), r"got times=\[0.5, 1.5\]"),
        (([0.5], [1, 2]), r"a weight for each of the 1 times"),
        (([0.5, 0.6], [1, -1]), r"none negative"),
        (([0.5, 0.6], [0, 0]), r"not all zero"),
    ],
)
def test_an_ensemble_of_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        no.EnsembleDecoder(*arguments)


def test_an_ensemble_needs_a_gaussian_path(key):
    field = no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=4, key=key)
    with pytest.raises(TypeError, match=r"NoPropFM has none\. Use DenoiserDecoder"):
        no.predict_log_proba(
            no.NoPropFM(field, embedding=no.OneHot(3)),
            jnp.zeros((1, 2, 2, 1), jnp.float32),
            key=key,
            decoder=no.EnsembleDecoder(TIMES),
        )


def test_a_sampler_beside_a_decoder_that_runs_none_is_refused(key):
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), 4, key=key)
    model, xs = no.NoPropDT(blocks, embedding=no.OneHot(3)), np.zeros((2, 2, 2, 1), np.float32)
    assert not model.default_prediction.decoder.follows_sampler
    with pytest.raises(ValueError, match="EnsembleDecoder asks the network where trajectories start, so Ancestral"):
        no.predict(model, xs, key=key, prediction=model.default_prediction, sampler=no.Ancestral(4))
    # Without one of the user's own the denoiser is read.
    read = {"start": "mean", "sampler": no.Ancestral(4, churn=0.0)}
    own = no.predict_log_proba(model, xs, key=key, decoder=no.DenoiserDecoder(), **read)
    np.testing.assert_array_equal(no.predict_log_proba(model, xs, key=key, **read), own)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"draws": 0}, "at least one trajectory"),
        ({"shift": -1}, "0 for none"),
        ({"start": "mean", "draws": 4, "sampler": no.Ancestral(2, churn=0.0)}, "are all the same"),
        ({"start": "mean", "draws": 4, "sampler": no.Ancestral(1)}, "are all the same"),
    ],
)
def test_one_prediction_is_checked_as_many_are(how, message, key):
    model = no.NoPropCT(no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), embedding=no.OneHot(3))
    prediction = no.Prediction("noise", no.Ancestral(2), no.DenoiserDecoder())._replace(**how)
    with pytest.raises(ValueError, match=message):
        no.predict_one(model, jnp.zeros((2, 2, 1)), key=key, prediction=prediction)
    with pytest.raises(ValueError, match=message):
        no.predict(model, np.zeros((1, 2, 2, 1), np.float32), key=key, prediction=prediction)
