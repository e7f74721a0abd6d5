"""A batch in parts: the values and gradients of the whole, where it is taken apart, and into what."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import noprop_ode as no
from noprop_ode._parts import part_size, vmap_in_parts


@pytest.mark.parametrize("batch, size", [(200, 40), (128, 32), (96, 32), (144, 36), (100, 25), (40, 40), (64, 32)])
def test_a_part_is_the_largest_divisor_of_a_size_that_helps(batch, size):
    assert part_size(batch) == size


@pytest.mark.parametrize("batch", [1, 15, 127, 2 * 59])
def test_a_batch_that_does_not_divide_is_taken_whole(batch):
    assert part_size(batch) == batch


def network(key=jr.key(0)):
    return no.nn.SimpleCNN((16, 12, 1), width=2, key=key)


def encode(net, xs, scales, how):
    return how(lambda x, scale: {"features": scale * net(x), "scale": scale})(xs, scales)


def inputs(batch=48):
    return jr.uniform(jr.key(1), (batch, 16, 12, 1)), jnp.arange(1.0, batch + 1)


def convolutions(net, batch):
    jaxpr = jax.make_jaxpr(lambda xs, s: encode(net, xs, s, lambda f: vmap_in_parts(f, net)))(*inputs(batch))
    return str(jaxpr).count("conv_general_dilated")


def test_values_keep_their_order_and_gradients_are_those_of_the_whole():
    net = network()

    def loss(net, how):
        out = encode(net, *inputs(), how)
        return jnp.sum(jnp.sin(out["features"])), out

    gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (_, parts), grads = gradient(net, lambda f: vmap_in_parts(f, net))
    (_, whole), expected = gradient(net, jax.vmap)
    np.testing.assert_array_equal(parts["scale"], whole["scale"])
    np.testing.assert_allclose(parts["features"], whole["features"], rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(grads), jax.tree.leaves(expected)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(jnp.abs(theirs).max()))


@pytest.mark.skipif(
    jax.default_backend() != "cpu" or jax.device_count() > 1, reason="a batch is taken apart on one CPU device alone"
)
def test_only_a_large_batch_of_images_that_are_convolved_is_taken_apart(monkeypatch):
    net = network()
    assert convolutions(net, 80) == 2 * convolutions(net, 40) == 2 * convolutions(net, 1)
    assert convolutions(net, 127) == convolutions(net, 1)
    with monkeypatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 2)
        assert convolutions(net, 80) == convolutions(net, 1)
    small = no.nn.SimpleCNN((8, 8, 1), width=2, key=jr.key(0))
    jaxpr = jax.make_jaxpr(vmap_in_parts(small, small))(jnp.zeros((80, 8, 8, 1)))
    assert str(jaxpr).count("conv_general_dilated") == len(small.convs)
    linear = no.nn.Linear(192, 2, key=jr.key(0))
    jaxpr = jax.make_jaxpr(vmap_in_parts(lambda x: linear(x.reshape(-1)), linear))(jnp.zeros((80, 16, 12, 1)))
    assert str(jaxpr).count("dot_general") == 1


def test_the_loss_of_a_batch_does_not_depend_on_its_parts(monkeypatch):
    net = no.nn.BackboneField(no.nn.SimpleCNN((12, 12, 1), width=2, key=jr.key(0)), 3, 3, width=4, key=jr.key(1))
    model = no.NoPropCT(net, embedding=no.OneHot(3), key=jr.key(2))
    xs, ys = jr.uniform(jr.key(3), (32, 12, 12, 1)), jnp.arange(32) % 3

    def terms():
        return eqx.filter_jit(lambda model: model.batch_loss(xs, ys, key=jr.key(4)))(model)

    whole = terms()
    monkeypatch.setattr("noprop_ode._parts.part_size", lambda batch: 8)
    eqx.clear_caches()
    np.testing.assert_allclose(terms().total, whole.total, rtol=1e-5)
