"""Bad input: each mistake has its own message, which says what was expected, what came, and what to do."""

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam, blobs, mlp_model, scalar

import noprop_ode as no


KEY = jr.key(0)
XS, YS = blobs(6)


def predict(xs=XS, **how):
    return no.predict_log_proba(mlp_model(), xs, key=KEY, **how)


def train(xs=XS, ys=YS):
    return list(no.train(no.TrainState.create(mlp_model(), adam(), key=KEY), [(xs, ys)]))


def evaluate(xs=XS, ys=YS):
    return no.evaluate(mlp_model(), xs, ys, key=KEY)


def spoiled(value):
    xs = XS.copy()
    xs[4, 0, 0, 0] = value
    return xs


BAD_IMAGES = {
    "shape": (np.zeros((6, 3, 3, 1), np.uint8), ValueError, r"Expected one image of shape \(2, 2, 1\).*\(3, 3, 1\)"),
    "int32": (XS.astype(np.int32), TypeError, "uint8 in .0, 255. or floating point.*got dtype int32.*astype"),
    "bool": (XS > 0.5, TypeError, "got dtype bool"),
    "nan": (spoiled(np.nan), ValueError, "must be finite; 1 of 6.*first at index 4"),
    "infinite": (jnp.asarray(spoiled(np.inf)), ValueError, "must be finite; 1 of 6.*first at index 4"),
    "0..255": (
        XS * 255,
        ValueError,
        r"in \[0, 1\], or are normalised; got pixels from .* to 24\d.* Divide them by 255",
    ),
    "empty": (XS[:0], ValueError, r"non-empty batch of images.*got shape \(0, 2, 2, 1\)"),
    "no batch": (np.zeros(4, np.float32), ValueError, r"non-empty batch of images.*got shape \(4,\)"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
@pytest.mark.parametrize("call", [predict, train, evaluate])
def test_bad_images(call, name):
    xs, error, message = BAD_IMAGES[name]
    how = {} if call is predict else {"ys": YS[: len(xs)] if len(xs) <= 6 else YS}
    with pytest.raises(error, match=message):
        call(xs, **how)


BAD_LABELS = {
    "too large": (np.where(YS == 2, 3, YS), ValueError, r"must lie in \[0, 3\).*got labels from 0 to 3"),
    "negative": (YS - 1, ValueError, r"must lie in \[0, 3\).*got labels from -1 to 1"),
    "number": (YS[:4], ValueError, r"one label an image, shape \(6,\); got shape \(4,\)"),
    "one-hot": (np.eye(3, dtype=np.int32)[YS], ValueError, r"one label an image.*got shape \(6, 3\)"),
    "float": (YS.astype(np.float32), TypeError, "Labels are integers.*got dtype float32"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
@pytest.mark.parametrize("call", [train, evaluate])
def test_bad_labels(call, name):
    ys, error, message = BAD_LABELS[name]
    with pytest.raises(error, match=message):
        call(ys=ys)


def test_a_label_out_of_range_that_cannot_raise_is_no_number():
    """Inside `jit` there is no exception to raise; a loss that looks sound would be worse than NaN."""
    for y in (-1, 3):
        assert jnp.isnan(mlp_model().loss(XS[0], y, key=KEY).total)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"draws": 0, "start": "noise"}, "at least one trajectory; got draws=0"),
        ({"batch_size": 0}, "at least one image; got batch_size=0"),
        ({"draws": 2, "start": "mean"}, "2 draws are all the same where no noise is added on the way; use draws=1"),
    ],
)
def test_bad_predictions(how, message):
    with pytest.raises(ValueError, match=message):
        predict(**how)


def test_an_unknown_start_is_refused_by_name():
    with pytest.raises((TypeError, ValueError), match="start"):
        predict(start="median")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: no.Ancestral(0), "steps must be a positive integer; got 0"),
        (lambda: no.Ancestral(True), "steps must be a positive integer; got True"),
        (lambda: no.ODE(diffrax.Euler(), steps=0), "steps must be a positive integer; got 0"),
        (lambda: no.ODE(diffrax.Heun()), "either steps=.* or stepsize_controller="),
        (
            lambda: no.ODE(diffrax.Heun(), steps=4, stepsize_controller=diffrax.PIDController(1e-3, 1e-3)),
            "either steps=.* or stepsize_controller=.*got steps=4",
        ),
        (
            lambda: no.ODE(diffrax.Euler(), stepsize_controller=diffrax.PIDController(1e-3, 1e-3)),
            "Euler has no error estimate.*give steps=.*Tsit5",
        ),
        (lambda: no.Ancestral(4, churn=-0.1), r"churn must lie in \[0, 1\].*got -0.1"),
        (lambda: no.Ancestral(4, churn=1.5), r"churn must lie in \[0, 1\].*got 1.5"),
    ],
)
def test_bad_samplers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Still(no.AbstractModel):
    """A model that is not Gaussian: nothing moves."""

    field: no.AbstractVectorField
    embedding: no.AbstractLabelEmbedding
    readout: no.AbstractReadout

    @property
    def default_prediction(self):
        return no.Prediction("mean", no.ODE(diffrax.Euler(), steps=1), no.DenoiserDecoder())

    @property
    def paper_prediction(self):
        return self.default_prediction

    @property
    def protocols(self):
        return {}

    @property
    def independent_blocks(self):
        return None

    def loss(self, x, y, *, key):
        raise NotImplementedError

    def batch_loss(self, xs, ys, *, key):
        raise NotImplementedError

    def velocity(self, t, z, features):
        return jnp.zeros_like(z)

    def log_posterior(self, t, z, features):
        return self.readout(z, self.embedding)


def test_ancestral_steps_need_a_gaussian_path():
    gaussian = mlp_model()
    model = Still(gaussian.field, gaussian.embedding, gaussian.readout)
    with pytest.raises(TypeError, match=r"Still has none. Use noprop_ode\.ODE"):
        no.predict_log_proba(model, XS, key=KEY, sampler=no.Ancestral(2))
    moved = no.predict_log_proba(model, XS, key=KEY, sampler=no.ODE(diffrax.Euler(), steps=2))
    assert moved.shape == (6, 3)


def test_a_solver_that_fails_is_named_with_its_reason():
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-6)
    sampler = no.ODE(diffrax.Tsit5(), stepsize_controller=controller, max_steps=2)
    with pytest.raises(no.SolverError, match=r"ODE\(Tsit5\) failed on 6 of 6 images.*maximum number of solver steps"):
        predict(sampler=sampler, start="noise")
    with pytest.raises(Exception, match="maximum number of solver steps"):
        mlp_model()(XS[0], key=KEY, sampler=sampler)
    with pytest.raises(Exception, match="maximum number of solver steps"):
        sampler.trajectory(
            mlp_model(), jnp.zeros(3, jnp.float32), mlp_model().field.encode(XS[0]), jnp.ones(1), key=KEY
        )


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_bad_decay_of_the_average(decay):
    with pytest.raises(ValueError, match=r"average_decay must lie in \[0, 1\); got"):
        no.TrainState.create(mlp_model(), adam(), key=KEY, average_decay=decay)


def test_a_bad_interval_of_checks():
    state = no.TrainState.create(mlp_model(), adam(), key=KEY)
    with pytest.raises(ValueError, match=r"check_every and steps_per_call must be at least 1; got 0"):
        list(no.train(state, [], check_every=0))


def test_a_wrong_shape_names_the_argument():
    model, z = mlp_model(), jnp.zeros(3, jnp.float32)
    features = model.field.encode(XS[0])
    with pytest.raises(TypeError, match=r"(?s)parameter.*'t'|argument.*t: "):
        model.velocity(jnp.zeros(2, jnp.float32), z, features)
    with pytest.raises(TypeError, match=r"(?s)parameter.*'z'|argument.*z: "):
        model.velocity(scalar(0.5), z[None], features)


@pytest.mark.parametrize("function", [no.predict_log_proba, no.predict], ids=lambda f: f.__name__)
def test_a_loop_on_the_host_within_a_trace_is_refused(function):
    model = mlp_model()
    with pytest.raises(TypeError, match=r"not within jit, grad or vmap; there use noprop_ode.predict_one"):
        jax.jit(lambda xs: function(model, xs, key=KEY))(XS)


def test_optax_multi_steps_are_told_apart_from_a_transformation():
    with pytest.raises(TypeError, match=r"Write \.gradient_transformation\(\) behind it"):
        no.TrainState.create(mlp_model(), optax.MultiSteps(adam(), 2), key=KEY)
