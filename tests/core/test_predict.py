"""Predictions over a data set, and the measures of their quality."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Count, Watched, blobs, mlp_model, perfect_model

import noprop_ode as no


XS, YS = blobs(10)
STOCHASTIC = {"sampler": no.Ancestral(2), "start": "noise", "draws": 2}


@pytest.mark.parametrize("how", [{}, STOCHASTIC], ids=["default", "stochastic"])
def test_predictions_do_not_depend_on_the_batch_size(key, how):
    log_ps = [no.predict_log_proba(mlp_model(), XS, key=key, batch_size=n, **how) for n in (4, 10)]
    assert all(log_p.shape == (10, 3) for log_p in log_ps)
    for log_p in log_ps[1:]:
        np.testing.assert_allclose(log_p, log_ps[0], rtol=1e-5, atol=1e-6)


def test_predictions_do_not_depend_on_what_follows(key):
    whole = no.predict_log_proba(mlp_model(), XS, key=key, **STOCHASTIC)
    part = no.predict_log_proba(mlp_model(), XS[:4], key=key, **STOCHASTIC)
    np.testing.assert_allclose(part, whole[:4], rtol=1e-5, atol=1e-6)


def test_without_noise_the_order_of_the_images_does_not_matter(key):
    order = np.random.default_rng(0).permutation(len(XS))
    whole = np.asarray(no.predict_log_proba(mlp_model(), XS, key=key))
    np.testing.assert_allclose(no.predict_log_proba(mlp_model(), XS[order], key=key), whole[order], atol=1e-6)


def test_every_image_has_noise_of_its_own(key):
    log_p = np.asarray(no.predict_log_proba(mlp_model(), np.repeat(XS[:1], 5, axis=0), key=key, **STOCHASTIC))
    assert len(np.unique(log_p[:, 0])) == 5


def test_all_batches_share_one_compilation(key):
    """The last one, shorter, is padded; and NumPy or JAX is the same."""
    model = mlp_model(watch=True)
    for seed in (0, 1):
        numpy = no.predict_log_proba(model, XS, key=jr.key(seed), batch_size=4)
    as_jax = no.predict_log_proba(model, jnp.asarray(XS), key=key, batch_size=4)
    assert model.field.traces.n == 1
    np.testing.assert_array_equal(numpy, as_jax)


def blocks_model(num_blocks: int) -> tuple[no.NoPropDT, Count]:
    """A model of blocks, and how often their image branch was traced."""
    traces = Count()

    def make(key) -> Watched:
        return Watched(no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=4, key=key), traces)

    return no.NoPropDT(no.Blocks(make, num_blocks, key=jr.key(0)), embedding=no.OneHot(3)), traces


def test_the_image_branch_is_compiled_once_whatever_the_number_of_blocks_and_of_ways_to_predict(key):
    for num_blocks in (2, 5):
        model, traces = blocks_model(num_blocks)
        before = traces.n
        for how in (model.default_prediction, model.protocols["mean ddim-1"]):
            no.predict_log_proba(model, XS, key=key, prediction=how, batch_size=4)
        assert traces.n == before + 1


@pytest.mark.parametrize("way, asked", [("default", 2), ("mean ddim-1", 1), ("paper", 4)])
def test_blocks_that_a_prediction_does_not_ask_are_not_run(key, way, asked):
    model, _ = blocks_model(4)
    how = {"default": model.default_prediction, **model.protocols}[way]
    encodes = model.field.stacked.encodes
    before = encodes.n
    found = no.predict_log_proba(model, XS, key=key, prediction=how)
    jax.effects_barrier()
    assert encodes.n == before + asked * len(XS)
    one = eqx.filter_jit(lambda i, x: no.predict_one(model, x, key=jr.fold_in(key, i), prediction=how)[0])
    for i in (0, 7):
        np.testing.assert_allclose(found[i], one(jnp.asarray(i), XS[i]), rtol=1e-5, atol=1e-6)


def test_bytes_are_pixels_divided_by_255(key):
    pixels = np.round(XS * 255).astype(np.uint8)
    expected = no.predict_log_proba(mlp_model(), (pixels / 255).astype(np.float32), key=key)
    np.testing.assert_allclose(no.predict_log_proba(mlp_model(), pixels, key=key), expected, atol=1e-6)


@pytest.mark.parametrize("how", [{}, STOCHASTIC], ids=["default", "stochastic"])
def test_evaluation_is_the_hand_computation(key, how):
    result = no.evaluate(mlp_model(), XS, YS, key=key, batch_size=3, **how)
    log_p = np.asarray(no.predict_log_proba(mlp_model(), XS, key=key, **how))
    assert result.accuracy == pytest.approx(sum(row.argmax() == y for row, y in zip(log_p, YS)) / 10)
    assert result.nll == pytest.approx(-sum(row[y] for row, y in zip(log_p, YS)) / 10, rel=1e-5)
    assert result.calibration_error == pytest.approx(no.calibration_error(log_p, YS), abs=1e-5)
    assert result.probability == pytest.approx(sum(np.exp(row[y]) for row, y in zip(log_p, YS)) / 10, rel=1e-5)
    assert result.num_examples == 10


def binary(confidence, correct):
    """Log-probabilities of two classes, class 0 favoured, and labels that are 0 where the prediction is correct."""
    log_p = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype(np.float32)
    return log_p, np.where(correct, 0, 1)


def test_probabilities_of_any_origin_are_scored(key):
    model, (xs, ys) = mlp_model(), blobs(9)
    log_ps = no.predict_log_proba(model, xs, key=key)
    found, expected = no.score(log_ps, ys), no.evaluate(model, xs, ys, key=key)
    assert found == no.Score(*expected[:4])
    with pytest.raises(ValueError, match="labels"):
        no.score(log_ps, ys + 3)


def test_what_are_no_log_probabilities_is_refused(key):
    log_ps = no.predict_log_proba(mlp_model(), XS, key=key)
    for wrong in (np.exp(log_ps), 5 * log_ps + 7):
        for function in (no.score, no.calibration_error):
            with pytest.raises(
                ValueError, match=r"add up to 1 in each row; got [\d.]+ in row 0\. Take jax\.nn\.log_softmax"
            ):
                function(wrong, YS)
    assert no.score(np.asarray(log_ps, jnp.bfloat16).astype(np.float32), YS).accuracy <= 1  # not exact, and accepted


def test_the_calibration_error_by_hand():
    """Two bins of ten: (0.6, 0.7] holds confidence .65, 2 of 4 correct; (0.9, 1] holds .95, 1 of 1 correct."""
    log_p, ys = binary(np.array([0.65] * 4 + [0.95]), np.array([1, 1, 0, 0, 1], bool))
    expected = (4 * abs(0.5 - 0.65) + abs(1 - 0.95)) / 5
    assert no.calibration_error(log_p, ys, num_bins=10) == pytest.approx(expected, abs=1e-6)


def test_calibrated_predictions_have_no_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 50_000)
    assert no.calibration_error(*binary(confidence, rng.random(50_000) < confidence)) < 0.01


def test_the_calibration_error_of_overconfidence_is_its_excess():
    rng = np.random.default_rng(0)
    log_p, ys = binary(np.full(50_000, 0.99), rng.random(50_000) < 0.6)
    assert no.calibration_error(log_p, ys) == pytest.approx(0.39, abs=0.01)


def test_certainty_falls_into_the_last_bin():
    log_p, ys = binary(np.array([1.0 - 1e-12, 0.5 + 1e-12]), np.array([True, True]))
    assert no.calibration_error(log_p, ys) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("how", [{}, STOCHASTIC], ids=["default", "stochastic"])
def test_with_the_mirror_image_probabilities_are_averaged_over_both(key, how):
    each = [no.predict_log_proba(mlp_model(), xs, key=key, **how) for xs in (XS, XS[:, :, ::-1])]
    expected = np.log(np.mean(np.exp(each), axis=0))
    assert np.abs(each[0] - each[1]).max() > 1e-3
    model = mlp_model()
    np.testing.assert_allclose(no.predict_log_proba(model, XS, key=key, mirror=True, **how), expected, atol=1e-5)
    plain, both = (no.evaluate(model, XS, YS, key=key, mirror=mirror, **how) for mirror in (False, True))
    assert both.num_evaluations == 2 * plain.num_evaluations
    assert both.num_saved == plain.num_saved == 0


@pytest.mark.parametrize("mirror", [False, True])
def test_with_shifts_probabilities_are_averaged_over_the_corners_too(key, mirror):
    """The views are made here by NumPy."""
    model = mlp_model(image_shape=(4, 3, 1))
    xs = np.random.default_rng(0).uniform(size=(5, 4, 3, 1)).astype(np.float32)
    padded = np.pad(xs, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = [xs, *(padded[:, down : down + 4, right : right + 3] for down in (0, 2) for right in (0, 2))]
    views = [view[:, :, ::-1] if flip else view for flip in ((False, True) if mirror else (False,)) for view in moved]
    each = [no.predict_log_proba(model, np.ascontiguousarray(view), key=key) for view in views]
    assert np.ptp(each, axis=0).max() > 1e-3
    found = no.predict_log_proba(model, xs, key=key, mirror=mirror, shift=1)
    np.testing.assert_allclose(found, np.log(np.mean(np.exp(each), axis=0)), atol=1e-5)
    how = model.default_prediction._replace(mirror=mirror, shift=1)
    one = no.predict_one(model, xs[1], key=jr.fold_in(key, 1), prediction=how)
    np.testing.assert_allclose(one[0], found[1], atol=1e-5)
    assert no.evaluate(model, xs, np.zeros(5, np.int32), key=key, prediction=how).num_evaluations == len(views)


def test_a_shift_is_of_less_than_the_image(key):
    for shift, message in ((2, "less than 2 pixels"), (-1, "0 for none")):
        with pytest.raises(ValueError, match=message):
            no.predict(mlp_model(), XS, key=key, shift=shift)


def test_only_an_image_has_a_mirror_image(key):
    with pytest.raises(ValueError, match=r"\[height, width, channels\]; got shape \(3,\)"):
        no.predict_log_proba(perfect_model(), np.zeros((2, 3), np.float32), key=key, mirror=True)
