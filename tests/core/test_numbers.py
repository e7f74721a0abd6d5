"""Settings that are numbers of NumPy's, as `np.linspace` gives them, are settings all the same."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import adam, blobs, mlp_model

import noprop_ode as no


@pytest.mark.parametrize(
    "make",
    [
        no.PowerTimes,
        no.MinSNRWeighting,
        no.SigmoidWeighting,
        lambda x: no.LinearSchedule(-x, x),
        lambda x: no.CosineSchedule(-x, x),
        lambda x: no.SigmoidSchedule(6.0, -x, x),
        lambda x: no.GridSchedule((-x, x)),
        lambda x: no.Ancestral(3, churn=x / 4),
        lambda x: no.EarlyExit(no.Ancestral(3), confidence=x / 4),
    ],
)
def test_a_setting_of_numpy_is_that_of_python(make):
    found, expected = make(np.float64(2.0)), make(2.0)
    assert eqx.tree_equal(found, expected, typematch=True)
    assert not any(jax.tree.leaves(no.trainable_mask(found)))


def test_what_a_loss_weighs_is_not_learned():
    class Weighted(no.AbstractObjective):
        weighting: no.AbstractWeighting
        classes: jax.Array

        def error(self, logits, y, embedding, *, skip=0.0):
            return -self.classes[y] * jax.nn.log_softmax(logits + skip)[y]

    objective = Weighted(no.UniformWeighting(), jnp.ones(3, jnp.float32))
    mask = no.trainable_mask(mlp_model(objective=objective))
    assert not any(jax.tree.leaves(mask.objective)) and any(jax.tree.leaves(mask.field))
    assert no.trainable_mask({"a": np.float32(1.0), "b": np.ones(2)}) == {"a": False, "b": True}


class Power(no.AbstractNoiseSchedule):
    """A schedule of a user's, which says nothing of its exponent."""

    exponent: float

    def log_snr(self, t):
        return -7.0 + 14.0 * t**self.exponent


@pytest.mark.parametrize("optimiser", [adam(), optax.sgd(0.1)], ids=["adam", "sgd"])
def test_a_number_of_numpy_in_a_module_of_the_users_own_is_not_learned(optimiser):
    model = mlp_model(schedule=Power(np.float64(1.5)))
    state = no.TrainState.create(model, optimiser, key=jax.random.key(0))
    for state, _ in no.train(state, [blobs(6)] * 2):
        pass
    assert state.model.schedule.exponent == 1.5 and type(state.model.schedule.exponent) is float


class Scaled(no.AbstractVectorField):
    """A network with a factor."""

    field: no.AbstractVectorField
    factor: float

    def encode(self, x, *, key=None):
        return self.field.encode(x, key=key)

    def __call__(self, t, z, features):
        return self.factor * self.field(t, z, features)


def test_a_number_of_numpy_in_blocks_is_not_learned():
    blocks = no.Blocks(lambda key: Scaled(mlp_model().field, np.float64(0.5)), 2, key=jax.random.key(0))
    assert blocks.stacked.factor == 0.5 and type(blocks.stacked.factor) is float


@pytest.mark.filterwarnings("error")
def test_static_settings_of_numpy_are_those_of_python():
    x, field = np.float64(0.25), mlp_model().field
    made = (
        no.NoPropCT(field, embedding=no.OneHot(3), eta=x).eta,
        no.NoPropFM(field, embedding=no.OneHot(3), sigma=x).sigma,
        no.NearestEmbedding(x).scale,
        no.CrossEntropy(smoothing=x).smoothing,
        no.nn.ConvEncoder((8, 8, 1), mean=x, std=x, dropout=x, key=jax.random.key(0)).mean,
        *no.EnsembleDecoder([x], [x]).times,
        *no.EnsembleDecoder([x], [x]).weights,
    )
    assert {type(value) for value in made} == {float}
