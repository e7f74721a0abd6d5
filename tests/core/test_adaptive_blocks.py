"""Adaptive steps through a model of blocks: one block after another, each for all images of a batch."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Watched, blobs

import noprop_ode as no


BATCH, WIDTH = 7, 11
HOW = no.Prediction("noise", no.Ancestral(1), no.ReadoutDecoder())


def tsit5(tolerance=1e-2, **how):
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    return no.ODE(diffrax.Tsit5(), stepsize_controller=controller, **how)


def dt_model(num_blocks=3, watch=False):
    def block(key):
        field = no.nn.MLPField((2, 2, 1), 3, 3, width=WIDTH, time_size=4, key=key)
        # Larger than a new network's, so that blocks differ.
        field = jax.tree.map(lambda a: 3 * a if eqx.is_inexact_array(a) else a, field)
        return Watched(field) if watch else field

    return no.NoPropDT(no.Blocks(block, num_blocks, key=jr.key(0)), embedding=no.OneHot(3))


def sampled(model, sampler, **how):
    (xs, _), z0s = blobs(BATCH), jr.normal(jr.key(1), (BATCH, 3), jnp.float32)
    return eqx.filter_vmap(lambda x, z0: sampler.sample(model, z0, model.field.encode(x), key=jr.key(2), **how))(
        jnp.asarray(xs), z0s
    )


def by_midpoints(model, t1, steps=400):
    """The same ends by another way: the midpoint rule in each block, as if it were the only one."""
    (xs, _), zs = blobs(BATCH), jr.normal(jr.key(1), (BATCH, 3), jnp.float32)
    features = jax.vmap(model.field.encode)(jnp.asarray(xs))
    for k in range(3):
        block = no.Blocks(lambda key, k=k: model.field.block(k), 1, key=jr.key(0))
        alone = eqx.tree_at(lambda m: m.field, model, block)
        start, end = k / 3, min((k + 1) / 3, t1)
        own, dt = jax.tree.map(lambda a, k=k: a[:, k : k + 1], features), max(end - start, 0) / steps
        velocity = jax.vmap(alone.velocity, in_axes=(None, 0, 0))

        def step(zs, i, velocity=velocity, own=own, start=start, dt=dt):
            t = start + i * dt
            middle = zs + dt / 2 * velocity(t, zs, own)
            return zs + dt * velocity(t + dt / 2, middle, own), None

        zs = jax.lax.scan(step, zs, jnp.arange(steps, dtype=jnp.float32))[0]
    return zs


@pytest.mark.parametrize("t1", [1.0, 0.5, 0.2])
def test_they_follow_the_ode(t1):
    model = dt_model()
    found = sampled(model, tsit5(1e-6), t1=t1)
    assert np.asarray(diffrax.is_okay(found.result)).all()
    np.testing.assert_allclose(found.t, t1, rtol=1e-6)
    np.testing.assert_allclose(found.z, by_midpoints(model, t1), atol=3e-4)
    along = eqx.filter_vmap(
        lambda x, z0: tsit5(1e-6).trajectory(model, z0, model.field.encode(x), jnp.asarray([t1]), key=jr.key(2))[0]
    )(jnp.asarray(blobs(BATCH)[0]), jr.normal(jr.key(1), (BATCH, 3), jnp.float32))
    # A thousandth of a block before its end the whole field goes on to the next, which moves the ends a little.
    np.testing.assert_allclose(found.z, along, atol=5e-3)


def test_the_evaluations_reported_are_those_that_happen():
    model, (xs, _) = dt_model(watch=True), blobs(1)
    how = HOW._replace(sampler=tsit5())
    _, evaluations, _ = eqx.filter_jit(no.predict_one)(model, xs[0], key=jr.key(0), prediction=how)
    jax.effects_barrier()
    assert float(evaluations) == model.field.stacked.calls.n >= 3 * 7


def shapes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars if hasattr(variable.aval, "shape"))
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = value if hasattr(value, "eqns") else getattr(value, "jaxpr", None)
            if inner is not None:
                yield from shapes(inner)


def weights_of_each_image(function):
    """Whether a program holds the weights of a block once per image."""
    model = dt_model(5)  # and not 3, as many as classes: features of all blocks have no shape of weights
    jaxpr = eqx.filter_make_jaxpr(function)(model)[0].jaxpr
    weights = {(BATCH, *a.shape[1:]) for a in jax.tree.leaves(eqx.filter(model.field, eqx.is_array)) if a.ndim == 3}
    return bool(weights & set(shapes(jaxpr)))


def test_no_weight_is_copied_for_each_image():
    assert not weights_of_each_image(lambda model: sampled(model, tsit5()).z)
    assert weights_of_each_image(lambda model: sampled(model, no.EarlyExit(tsit5())).z)  # such a copy would be seen


def test_a_block_that_needs_too_many_steps_ends_the_solve():
    model, (xs, _) = dt_model(watch=True), blobs(1)
    how = HOW._replace(sampler=tsit5(1e-7, max_steps=2))
    _, evaluations, results = eqx.filter_jit(no.predict_one)(model, xs[0], key=jr.key(0), prediction=how)
    jax.effects_barrier()
    assert not np.asarray(diffrax.is_okay(results)).any()
    assert float(evaluations) == 2 * 6 + 1
    with pytest.raises(no.SolverError, match=r"ODE\(Tsit5\) failed on 6 of 6 images.*maximum number of solver steps"):
        no.predict_log_proba(dt_model(), blobs(6)[0], key=jr.key(0), prediction=how)


def test_gradients_pass_through_all_blocks():
    def end(model):
        return jnp.sum(sampled(model, tsit5(1e-3)).z[:, 0])

    grads = jax.tree.leaves(eqx.filter_grad(end)(dt_model()).field)
    assert all(np.isfinite(g).all() for g in grads)
    assert all(np.abs(np.asarray(g)).reshape(3, -1).max(axis=1).all() for g in grads if g.ndim == 3)


class _Damped(no.NoPropDT):
    """Asks its field at another time than that of the velocity."""

    def logits(self, t, z, features):
        return super().logits(0.5 * t, z, features)


def test_a_model_from_elsewhere_may_ask_any_block():
    model = dt_model()
    other = _Damped(model.field, embedding=model.embedding)
    fine = no.ODE(diffrax.Heun(), steps=3000)
    np.testing.assert_allclose(sampled(other, tsit5(1e-5)).z, sampled(other, fine).z, atol=5e-3)
    assert not np.allclose(sampled(model, fine).z, sampled(other, fine).z, atol=0.05)


def test_steps_on_a_grid_do_not_meet_the_rate_of_the_next_block():
    model = eqx.tree_at(lambda m: m.schedule, dt_model(10), no.cosine_grid(10))
    found = sampled(model, tsit5(1e-5))
    assert np.asarray(diffrax.is_okay(found.result)).all()
    fine = sampled(model, no.ODE(diffrax.Heun(), steps=5000))
    np.testing.assert_allclose(found.z, fine.z, atol=5e-3)
    assert float(np.mean(found.num_evaluations)) < 600  # 361; to step up to nine jumps of the rate costs 860 more
