"""Settings that are numbers of NumPy's, as `np.linspace` gives them, are settings all the same."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import mlp_model

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
