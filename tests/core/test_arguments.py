"""What people try first: each argument of the wrong kind is refused in one sentence, and legacy keys work."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam, blobs, mlp_model
from jaxtyping import Float, jaxtyped

import noprop_ode as no
from noprop_ode import _typecheck


KEY = jr.key(0)


class _Plain(eqx.Module):
    def __call__(self, t, z, features):
        return z


XS, YS = blobs(6)
MODEL = mlp_model()
SENTENCES = {
    "a solver by name": (
        lambda: no.predict_log_proba(MODEL, XS, key=KEY, sampler="heun"),
        "predict_log_proba, argument sampler: expected an AbstractSampler or None; got 'heun'. "
        "Write noprop_ode.ODE(diffrax.Heun(), steps=4).",
    ),
    "a bare solver": (
        lambda: MODEL(XS[0], key=KEY, sampler=diffrax.Tsit5()),
        "NoPropCT, argument sampler: expected an AbstractSampler; got a Tsit5. "
        "Write noprop_ode.ODE(diffrax.Tsit5(), steps=4).",
    ),
    "no sampler": (
        lambda: MODEL(XS[0], key=KEY, sampler=4),
        "NoPropCT, argument sampler: expected an AbstractSampler; got 4. "
        "Give one such as noprop_ode.ODE(diffrax.Heun(), steps=4) or noprop_ode.Ancestral(4).",
    ),
    "a class": (
        lambda: no.predict(MODEL, XS, key=KEY, sampler=no.Ancestral),
        "predict, argument sampler: expected an AbstractSampler or None; got the class Ancestral. "
        "Make one: Ancestral(...).",
    ),
    "start": (
        lambda: no.predict(MODEL, XS, key=KEY, start="zero"),
        "predict, argument start: expected 'noise', 'mean' or None; got 'zero'. "
        "'mean' starts at z_0 = 0, and 'noise' at a draw of it.",
    ),
    "key": (
        lambda: no.evaluate(MODEL, XS, YS, key=3),
        "evaluate, argument key: expected a random key; got 3. Make one by jax.random.key(3).",
    ),
    "a part of a prediction": (
        lambda: no.predict(MODEL, XS, key=KEY, prediction=no.Prediction("mean", "ddim", no.DenoiserDecoder())),
        "prediction_of, argument sampler: expected an AbstractSampler; got 'ddim'. "
        "Give one such as noprop_ode.ODE(diffrax.Heun(), steps=4) or noprop_ode.Ancestral(4).",
    ),
    "decoder": (
        lambda: no.predict(MODEL, XS, key=KEY, decoder="posterior"),
        "predict, argument decoder: expected an AbstractDecoder or None; got 'posterior'. "
        "Did you mean noprop_ode.PosteriorDecoder(...)?",
    ),
    "draws": (
        lambda: no.evaluate(MODEL, XS, YS, key=KEY, draws="3"),
        "evaluate, argument draws: expected a whole number or None; got '3'. Write 3 without quotes.",
    ),
    "optimiser": (
        lambda: no.TrainState.create(MODEL, "sgd", key=KEY),
        "TrainState.create, argument optimiser: expected a GradientTransformation; got 'sgd'. "
        "Give one such as optax.sgd(1e-3).",
    ),
    "an optimiser that was not called": (
        lambda: no.TrainState.create(MODEL, optax.adam, key=KEY),
        "TrainState.create, argument optimiser: expected a GradientTransformation; got the function adam. "
        "Give one such as optax.adam(1e-3).",
    ),
    "the folder of a run": (
        lambda: no.evaluate("runs/x", XS, YS, key=KEY),
        "evaluate, argument model: expected an AbstractModel; got 'runs/x'. "
        "noprop_ode.experiment.load_model('runs/x')[0] is the model of a run.",
    ),
    "all that load_model returns": (
        lambda: no.evaluate((MODEL, None, None), XS, YS, key=KEY),
        "evaluate, argument model: expected an AbstractModel; got a tuple of 3. Take item 0 of that tuple.",
    ),
    "schedule": (
        lambda: no.NoPropCT(MODEL.field, embedding=no.OneHot(3), schedule="cosine"),
        "NoPropCT, argument schedule: expected an AbstractNoiseSchedule or None; got 'cosine'. "
        "Did you mean noprop_ode.CosineSchedule(...)?",
    ),
    "objective": (
        lambda: no.NoPropCT(MODEL.field, embedding=no.OneHot(3), objective="nll"),
        "NoPropCT, argument objective: expected an AbstractObjective or None; got 'nll'. "
        "Give one of noprop_ode.CrossEntropy, noprop_ode.SquaredError.",
    ),
    "embedding": (
        lambda: no.NoPropFM(MODEL.field, embedding=3),
        "NoPropFM, argument embedding: expected an AbstractLabelEmbedding; got 3. Write noprop_ode.OneHot(3).",
    ),
    "a shape": (
        lambda: MODEL.embedding.mix(jnp.zeros((2, 3))),
        "OneHot.mix, argument weights: expected a floating-point array of shape [classes]; got float32[2,3].",
    ),
    "an array of another library": (
        lambda: MODEL.embedding.mix(np.ones(3, np.float32)),
        "OneHot.mix, argument weights: expected a JAX floating-point array of shape [classes]; got float32[3].",
    ),
    "a number where an array should be": (
        lambda: MODEL.schedule.alpha_sigma(0.5),
        "CosineSchedule.alpha_sigma, argument t: expected a JAX floating-point scalar; got 0.5.",
    ),
    "a number of NumPy's": (
        lambda: no.CosineSchedule(np.float32(-5)),
        "CosineSchedule, argument log_snr_0: expected a number; got a float32. "
        "Make it a number of Python's: float(...).",
    ),
    "a network by its name": (
        lambda: no.nn.BackboneField("resnet", 3, 3, key=jr.key(0)),
        "BackboneField, argument backbone: expected an AbstractBackbone; got 'resnet'. "
        "Did you mean noprop_ode.nn.ResNet(...)?",
    ),
    "a module that is no field": (
        lambda: no.NoPropCT(_Plain(), embedding=no.OneHot(3)),
        "NoPropCT, argument field: expected an AbstractVectorField; got a _Plain. "
        "Make _Plain a subclass of noprop_ode.AbstractVectorField.",
    ),
    "the shape of images without channels": (
        lambda: no.nn.MLPField((8, 8), 3, 3, key=KEY),
        "MLPField, argument image_shape: expected tuple[int, int, int]; got a tuple of 2. "
        "It is (height, width, channels); images without channels need images[..., None].",
    ),
    "sizes that other arguments bind": (
        lambda: no.calibration_error(np.zeros((6, 3), np.float32), YS[:4]),
        "calibration_error, argument ys: expected an integer array of shape [n=6]; got int32[4].",
    ),
    "a model where an image should be": (
        lambda: MODEL.loss(MODEL, 0, key=KEY),
        "NoPropCT.loss, argument x: expected an array of shape [*image]; got a NoPropCT.",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_an_argument_of_the_wrong_kind_is_refused_in_one_sentence(name):
    call, sentence = SENTENCES[name]
    with pytest.raises(no.ArgumentError) as refused:
        call()
    assert str(refused.value) == sentence
    assert refused.value.__cause__ is refused.value.__context__ is None  # no other traceback above it


def test_what_comes_out_wrong_is_said_in_one_sentence():
    readout = eqx.tree_at(lambda r: (r.weight, r.bias), MODEL.readout, (jnp.zeros((2, 3, 3)), jnp.zeros((2, 3))))
    with pytest.raises(no.ArgumentError, match=r"^LinearReadout, what it returns: expected .*\[classes\]; got float32"):
        readout(jnp.zeros(3), MODEL.embedding)


def test_an_error_is_short_however_large_the_model():
    text = "x" * 10_000
    for value in (text, dict.fromkeys(range(99), text), [text] * 99, np.zeros((999, 999))):
        with pytest.raises(no.ArgumentError) as refused:
            no.predict(MODEL, XS, key=KEY, draws=value)
        assert len(str(refused.value)) < 200


CALLS = {
    "trajectories": lambda key: no.trajectories(MODEL, XS, jnp.linspace(0, 1, 3), key=key, sampler=no.SDE(3)).zs,
    "evaluate": lambda key: no.evaluate(MODEL, XS, YS, key=key).nll,
    "loss": lambda key: MODEL.loss(XS[0], 1, key=key).total,
    "train": lambda key: [m for _, m in no.train(no.TrainState.create(MODEL, adam(), key=key), [(XS, YS)])][-1].loss,
}


@pytest.mark.parametrize("name", CALLS)
def test_legacy_keys_are_keys(name):
    with jax.numpy_dtype_promotion("standard"):
        old, new = CALLS[name](jr.PRNGKey(0)), CALLS[name](jr.key(0))
    np.testing.assert_array_equal(old, new)


def test_a_checker_is_made_when_its_function_is_first_called(monkeypatch):
    # The checkers of everything that is imported would take most of the time of the import.
    made = []
    original = _typecheck._checked
    monkeypatch.setattr(_typecheck, "_checked", lambda f: made.append(f.__name__) or original(f))

    def double(n: int) -> Any:  # as jaxtyping passes it, for its arguments
        return 2 * n

    checked = _typecheck.typecheck(double)
    assert made == []
    assert (checked(1), checked(2)) == (2, 4) and made == ["double"]
    with pytest.raises(no.ArgumentError, match="double, argument n: expected a whole number"):
        checked("x")


def test_arguments_are_checked_once_and_what_returns_against_their_sizes():
    looked = []

    class Looked(type):
        def __instancecheck__(cls, value):
            looked.append(value)
            return isinstance(value, float)

    class Rate(metaclass=Looked):
        pass

    @jaxtyped(typechecker=_typecheck.typecheck)
    def scaled(x: Float[jax.Array, " n"], rate: Rate, size: int) -> Float[jax.Array, " n"]:
        return rate * x[:size]

    scaled(jnp.ones(3), 0.5, 3)
    assert [value for value in looked if value is not None] == [0.5]  # beartype first tries the class on `None`
    with pytest.raises(no.ArgumentError, match=r"scaled, what it returns: expected .* got float32\[2\]"):
        scaled(jnp.ones(3), 0.5, 2)
