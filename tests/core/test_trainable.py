"""What an optimiser may change, and what it leaves as it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam, blobs, mlp_model

import noprop_ode as no


def arrays(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


def test_weights_keep_their_type():
    """Whatever that of their update: a checkpoint of the first step must fit those after it."""
    model = jax.tree.map(lambda a: a.astype(jnp.bfloat16) if eqx.is_inexact_array(a) else a, mlp_model())
    state = no.TrainState.create(model, optax.sgd(jnp.float32(0.1)), key=jr.key(0), average_decay=0.999)
    with jax.numpy_dtype_promotion("standard"):
        ((after, _),) = no.train(state, [blobs()])
    types = [a.dtype for a in arrays(model)]
    assert types == [a.dtype for a in arrays(after.model)] == [a.dtype for a in arrays(after.evaluation_model)]
    assert any(np.any(a != b) for a, b in zip(arrays(after.model), arrays(model), strict=True))
    # In bfloat16 an average with this decay would never move.
    assert {a.dtype for a in arrays(after.average)} == {jnp.dtype("float32")}


def test_running_statistics_are_not_trained():
    layer, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, axis_name="batch", mode="batch")
    mask = no.trainable_mask((layer, state))
    assert any(jax.tree.leaves(mask[0])) and not any(jax.tree.leaves(mask[1]))


@pytest.mark.parametrize("trainable", [True, False])
def test_what_is_frozen_has_no_gradient_in_any_loop(trainable, key):
    """The loop of Equinox's own pages differentiates in all arrays."""
    parts = {
        "schedule": no.LearnedSchedule(trainable=trainable, key=key),
        "embedding": no.LearnedEmbedding(3, 4, trainable=trainable, key=key),
    }
    model = no.NoPropCT(no.nn.MLPField((2, 2, 1), 3, 4, width=8, key=key), **parts)
    grads = eqx.filter_grad(lambda model: model.batch_loss(*blobs(6), key=key).total)(model)
    for name in parts:
        assert trainable == any(np.any(g != 0) for g in arrays(getattr(grads, name)))
    sigmoid = eqx.filter_grad(lambda s: s.log_snr(jnp.float32(0.3)))(no.SigmoidSchedule(trainable=trainable))
    assert trainable == bool(sigmoid.raw_slope != 0)


class Frozen(no.AbstractVectorField, no.AbstractFreezable):
    field: no.AbstractVectorField
    trainable: bool = eqx.field(default=False, static=True)

    def encode(self, x, *, key=None):
        return self.field.encode(x, key=key)

    def __call__(self, t, z, features):
        return self.field(t, z, features)


def test_what_is_not_of_a_block_trains_where_all_blocks_are_frozen():
    blocks = no.Blocks(lambda key: Frozen(no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key)), 2, key=jr.key(0))
    model = no.NoPropDT(blocks, embedding=no.OneHot(3), end_state=no.SampledEndState(no.Ancestral(2)))
    xs, ys = blobs(12)
    result = no.fit(model, no.data.from_arrays(xs, ys), optimiser=adam(), epochs=1, batch_size=6, progress=False)
    for a, b in zip(arrays(result.model.field), arrays(model.field), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(arrays(result.model.readout), arrays(model.readout), strict=True))
