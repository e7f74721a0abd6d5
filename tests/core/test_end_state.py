"""What the readout is trained on, and which optimiser trains it."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import adam, blobs, mlp_model, one_hot_image, perfect_model

import noprop_ode as no


@pytest.mark.parametrize("variant", ["ct", pytest.param("dt", marks=pytest.mark.slow)])
def test_a_readout_trained_on_samples_sees_no_label(variant, key):
    """The state of the readout depends on the image alone, and its gradient stays in the readout."""
    end_state = no.SampledEndState(no.Ancestral(2, churn=0.0))
    if variant == "ct":
        model = mlp_model(end_state=end_state)
    else:
        blocks = no.Blocks(lambda key: mlp_model().field, 2, key=key)
        model = no.NoPropDT(blocks, embedding=no.OneHot(3), end_state=end_state)
    x = blobs(1)[0][0]
    states = [end_state(model, x, model.embedding(y), key=key) for y in range(3)]
    np.testing.assert_array_equal(states[0], states[1])
    both = eqx.filter_grad(lambda m: m.loss(x, 0, key=key).readout + m.loss(x, 1, key=key).readout)
    grads = eqx.filter_jit(both)(model)
    assert all(not bool(jnp.any(g != 0)) for g in jax.tree.leaves(grads.field))
    assert bool(jnp.any(grads.readout.weight != 0))


def test_a_readout_trained_on_samples_learns_what_the_dynamics_do(key):
    """With a perfect denoiser and the readout started at random, training on samples mends it."""
    perfect = perfect_model()
    model = no.NoPropCT(
        perfect.field,
        embedding=perfect.embedding,
        readout=no.LinearReadout(2, 3, key=key),
        end_state=no.SampledEndState(no.Ancestral(1, churn=0.0)),
    )
    xs = np.stack([np.asarray(one_hot_image(y, 3)) for y in (0, 1, 2)] * 4)
    ys = np.arange(12) % 3
    state = no.TrainState.create(model, adam(0.1), key=key)
    for state, metrics in no.train(state, [(xs, ys)] * 60):
        pass
    assert float(metrics.readout) < 0.1


def test_the_network_and_the_rest_have_optimisers_of_their_own(key):
    model = no.NoPropCT(mlp_model().field, embedding=no.LearnedEmbedding(3, 3, key=key))
    state = no.TrainState.create(model, no.partitioned(optax.sgd(0.1), optax.set_to_zero()), key=key)
    for state, _ in no.train(state, [blobs(6)] * 2):
        pass
    np.testing.assert_array_equal(state.model.embedding.matrix, model.embedding.matrix)
    np.testing.assert_array_equal(state.model.readout.weight, model.readout.weight)
    changed = [bool(jnp.any(a != b)) for a, b in zip(jax.tree.leaves(state.model.field), jax.tree.leaves(model.field))]
    assert any(changed)


def test_baselines_predict_as_they_were_trained(key):
    xs, ys = blobs(6)
    field = mlp_model().field
    adjoint = no.AdjointODE(field, embedding=no.OneHot(3), sampler=no.ODE(diffrax.Euler(), steps=3), key=key)
    backprop = no.Backprop(no.Blocks(lambda key: field, 2, key=key), embedding=no.OneHot(3), key=key)
    assert no.evaluate(adjoint, xs, ys, key=key).num_evaluations == 3
    assert no.evaluate(backprop, xs, ys, key=key).num_evaluations == 2


def test_settings_of_a_plan_are_not_trained(key):
    class Weighted(no.AbstractBlockPlan):
        probabilities: jax.Array

        def average(self, loss, num_blocks, *, key):
            return sum(self.probabilities[k] * loss(k) for k in range(num_blocks))

    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), 2, key=key)
    model = no.NoPropDT(blocks, embedding=no.OneHot(3), plan=Weighted(jnp.asarray([0.25, 0.75])))
    mask = no.trainable_mask(model)
    assert mask.plan.probabilities is False and any(jax.tree.leaves(mask.field))
