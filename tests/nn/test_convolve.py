"""The convolution: its values and every derivative against the plain XLA convolution."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from noprop_ode.nn._convolve import convolve


def plain(x, weight, stride):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], weight, (stride, stride), "SAME", dimension_numbers=dimensions)[0]


@pytest.fixture(params=[(3, 1, (8, 8)), (3, 2, (9, 6)), (1, 2, (5, 8)), (5, 1, (6, 7)), (7, 2, (8, 8))], ids=str)
def case(request):
    size, stride, sides = request.param
    x_key, w_key, dx_key, dw_key = jr.split(jr.key(0), 4)
    shapes = ((*sides, 3), (size, size, 3, 4))
    primals = tuple(jr.normal(k, s, jnp.float32) for k, s in zip((x_key, w_key), shapes))
    tangents = tuple(jr.normal(k, s, jnp.float32) for k, s in zip((dx_key, dw_key), shapes))
    return stride, primals, tangents


def scalar(function, stride):
    return lambda x, weight: jnp.sum(jnp.sin(function(x, weight, stride)))


def close(a, b):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-4 * float(jnp.abs(v).max())), a, b)


def test_values(case):
    stride, primals, _ = case
    close(convolve(*primals, stride), plain(*primals, stride))


def test_reverse_and_forward_derivatives(case):
    stride, primals, tangents = case
    ours, reference = scalar(convolve, stride), scalar(plain, stride)
    close(jax.grad(ours, (0, 1))(*primals), jax.grad(reference, (0, 1))(*primals))
    close(jax.jvp(ours, primals, tangents), jax.jvp(reference, primals, tangents))


def test_gradient_of_a_batch_and_of_each_example(case):
    stride, (x, weight), _ = case
    xs = jnp.stack([x, 2 * x, -x])
    ours, reference = scalar(convolve, stride), scalar(plain, stride)
    whole = jax.grad(lambda w: jnp.sum(jax.vmap(lambda x: reference(x, w))(xs)))(weight)
    close(jnp.sum(jax.vmap(jax.grad(ours, 1), (0, None))(xs, weight), axis=0), whole)
    close(jax.grad(lambda w: jnp.sum(jax.vmap(lambda x: ours(x, w))(xs)))(weight), whole)


def test_second_derivative(case):
    stride, primals, tangents = case

    def curvature(function):
        return jax.grad(lambda x, w: jax.jvp(scalar(function, stride), (x, w), tangents)[1], (0, 1))(*primals)

    close(curvature(convolve), curvature(plain))
