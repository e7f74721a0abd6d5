"""Discrete time: which block owns which time, that blocks share nothing, and that DT is CT on a grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import Simplex, adam, blobs, scalar

import noprop_ode as no


T = 3


def make(key, dim=3):
    return no.nn.MLPField((2, 2, 1), 3, dim, width=8, time_size=4, key=key)


def dt_model(embedding=None, **how):
    embedding = no.OneHot(3) if embedding is None else embedding
    return no.NoPropDT(no.Blocks(lambda k: make(k, embedding.dim), T, key=jr.key(0)), embedding=embedding, **how)


def arrays(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 7, 10, 49, 100, 1000, pytest.param(3000, marks=pytest.mark.slow)])
def test_the_owner_of_a_time_is_exact_on_the_grid(num_blocks):
    blocks = no.Blocks(lambda key: _Constant(jr.normal(key, (2,), jnp.float32)), num_blocks, key=jr.key(0))
    owner = jax.jit(jax.vmap(blocks.owner))
    k = np.arange(num_blocks)
    for times in (k / num_blocks, np.linspace(0, 1, num_blocks + 1)[:-1], (k + 0.5) / num_blocks):
        np.testing.assert_array_equal(owner(jnp.asarray(times, jnp.float32)), k)
    assert int(blocks.owner(scalar(1.0))) == num_blocks - 1


class _Constant(no.AbstractVectorField):
    """The same logits whatever the state."""

    logits: jax.Array

    def encode(self, x, *, key=None):
        return jnp.zeros((), jnp.float32)

    def __call__(self, t, z, features):
        return self.logits


def test_the_field_is_the_block_that_owns_the_time(key):
    blocks, x = no.Blocks(make, T, key=key), jnp.ones((2, 2, 1), jnp.float32)
    features, z = blocks.encode(x), jr.normal(key, (3,), jnp.float32)
    for k in range(T):
        t = scalar((k + 0.3) / T)
        own = blocks.block(k)
        np.testing.assert_allclose(blocks(t, z, features), own(t, z, own.encode(x)), rtol=1e-6)


@eqx.filter_jit
def block_gradients(model, k, key):
    """Gradient of the error of block k with respect to the whole model."""
    x, y = jnp.ones((2, 2, 1), jnp.float32), jnp.asarray(1)
    return eqx.filter_grad(lambda m: m.block_error(x, y, k, key=key))(model)


@pytest.mark.parametrize(
    "embedding", [no.OneHot(3), no.LearnedEmbedding(3, 5, key=jr.key(9))], ids=["fixed", "learned"]
)
def test_cross_block_gradients_are_exactly_zero(key, embedding):
    model = dt_model(embedding)
    for k in range(T):
        grads = block_gradients(model, jnp.asarray(k), key)
        for leaf in arrays(grads.field):
            others = np.delete(np.asarray(leaf), k, axis=0)
            assert not others.any()
        assert any(np.asarray(leaf[k]).any() for leaf in arrays(grads.field))
        # Beyond the blocks, a learned embedding is all that is shared; the readout has its own term.
        assert not any(np.asarray(leaf).any() for leaf in arrays(grads.readout))
        assert any(np.asarray(leaf).any() for leaf in arrays(grads.embedding)) == bool(arrays(embedding))


@pytest.mark.parametrize("plan", [no.OnlyBlock(1), no.SampledBlock()], ids=["only", "sampled"])
def test_a_plan_of_one_block_trains_that_block_alone(key, plan):
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: m.batch_loss(*blobs(6), key=key).denoising))
    grads = gradient(dt_model(plan=plan))
    touched = {k for k in range(T) for leaf in arrays(grads.field) if np.asarray(leaf[k]).any()}
    assert len(touched) == 1
    assert isinstance(plan, no.SampledBlock) or touched == {1}


def test_plans_agree_on_average(key):
    denoising = eqx.filter_jit(lambda model: model.batch_loss(*blobs(6), key=key).denoising)
    all_blocks = denoising(dt_model(eta=1.0))
    single = [denoising(dt_model(plan=no.OnlyBlock(jnp.asarray(k)), eta=1.0)) for k in range(T)]
    np.testing.assert_allclose(np.mean(single), all_blocks, rtol=1e-5)


@eqx.filter_jit
def loss_gradient(model, xs, ys, key):
    return eqx.filter_grad(lambda m: m.batch_loss(xs, ys, key=key).total)(model)


def test_blocks_in_turn_have_the_gradients_of_all_blocks(key):
    xs, ys = blobs(6)
    together, in_turn = (
        loss_gradient(dt_model(no.LearnedEmbedding(3, 5, key=jr.key(9)), plan=plan), xs, ys, key)
        for plan in (no.AllBlocks(), no.BlocksInTurn())
    )
    for expected, found in zip(arrays(together), arrays(in_turn), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def temporary_bytes(plan, num_blocks):
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=32, key=key), num_blocks, key=jr.key(0))
    model = no.NoPropDT(blocks, embedding=no.OneHot(3), plan=plan)
    lowered = loss_gradient.lower(model, *blobs(2000), jr.key(0))
    return lowered.compile().compiled.memory_analysis().temp_size_in_bytes


def test_the_memory_of_blocks_in_turn_is_that_of_one():
    in_turn = temporary_bytes(no.BlocksInTurn(), 4)
    assert in_turn < 1.1 * temporary_bytes(no.BlocksInTurn(), 2)
    assert in_turn < temporary_bytes(no.AllBlocks(), 4)


OPTIMISERS = {
    "adamw": lambda: adam(weight_decay=0.1),
    "clip": lambda: optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(0.1)),
    "trust ratio": lambda: optax.chain(optax.scale_by_trust_ratio(), optax.sgd(0.1)),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "clip")) for n in OPTIMISERS])
def test_blocks_trained_together_are_the_blocks_trained_alone(name):
    """With fixed labels nothing passes between blocks, so training them at once or one at a time is the same."""

    optimiser = no.blockwise(OPTIMISERS[name]())

    def trained(plan):
        state = no.TrainState.create(dt_model(plan=plan, eta=1.0), optimiser, key=jr.key(1))
        for state, _ in no.train(state, [blobs(9, seed=s) for s in range(3)]):
            pass
        return state.model.field

    start, together = dt_model().field, trained(_Sum())
    for k in range(T):
        alone = trained(no.OnlyBlock(k))
        for new, both, old in zip(arrays(alone), arrays(together), arrays(start)):
            np.testing.assert_allclose(new[k], both[k], rtol=2e-4, atol=1e-6)
            # The blocks that took no part keep their weights: no decay, no momentum.
            np.testing.assert_array_equal(np.delete(np.asarray(new), k, axis=0), np.delete(np.asarray(old), k, axis=0))


class _Sum(no.AbstractBlockPlan):
    """All blocks, summed: the gradient of each is then that of `OnlyBlock`."""

    def average(self, loss, num_blocks, *, key):
        return sum(loss(k) for k in range(num_blocks))


def test_blockwise_needs_blocks():
    with pytest.raises(ValueError, match=r"noprop_ode\.Blocks"):
        no.blockwise(optax.sgd(0.1)).init({"a": jnp.ones(2)})


def test_going_on_to_the_next_block_does_not_compile_again():
    traces = []

    @eqx.filter_jit
    def step(model, key):
        traces.append(None)
        return model.batch_loss(*blobs(3), key=key).total

    model = dt_model(plan=no.OnlyBlock(0))
    for k in range(T):
        step(eqx.tree_at(lambda m: m.plan.k, model, jnp.asarray(k)), jr.key(0))
    assert len(traces) == 1


@pytest.mark.parametrize("num_blocks", [1, 4, 400])
def test_the_bound_of_dt_telescopes_and_tends_to_that_of_ct(num_blocks):
    """With a prediction that never changes, the sum over blocks is half the error times SNR(1) - SNR(0), exactly."""
    field = _Constant(jnp.array([1.0, -0.5, 0.2], jnp.float32))
    blocks = no.Blocks(
        lambda key: _Constant(field.logits + 0 * jr.normal(key, (3,), jnp.float32)), num_blocks, key=jr.key(0)
    )
    x, y, how = jnp.zeros((1, 1, 1), jnp.float32), jnp.asarray(2), {"embedding": Simplex()}
    dt, ct = no.NoPropDT(blocks, **how), no.NoPropCT(field, **how)
    schedule = dt.schedule
    error = jnp.sum((Simplex().mix(jax.nn.softmax(field.logits)) - Simplex()(2)) ** 2)
    exact = 0.5 * (schedule.snr(scalar(1.0)) - schedule.snr(scalar(0.0))) * error
    found = no.elbo(dt, x, y, key=jr.key(1)), no.elbo(ct, x, y, key=jr.key(1), num_times=20_000)
    np.testing.assert_allclose(found[0].denoising, exact, rtol=1e-4)
    np.testing.assert_allclose(found[1].denoising, exact, rtol=2e-2)
    np.testing.assert_allclose(found[0].prior, found[1].prior, rtol=1e-6)


def test_the_bound_is_a_bound(key):
    """For the exact field, minus log p(y | x) is at most the bound, and nearly reached by the continuous one."""
    p = np.array([0.6, 0.3, 0.1])
    x = jnp.asarray(np.log(p), jnp.float32).reshape(1, 1, 3)
    schedule = no.CosineSchedule(-12.0, 7.0)
    field = _LogPrior()
    ct = no.NoPropCT(field, embedding=no.OneHot(3), schedule=schedule, evidence_skip=True)
    for y in range(3):
        bounds = [float(no.elbo(ct, x, jnp.asarray(y), key=k, num_times=2000).total) for k in jr.split(key, 8)]
        spread = 5 * np.std(bounds) / 8**0.5 + 0.02
        assert np.mean(bounds) > -np.log(p[y]) - spread
        assert np.mean(bounds) < -np.log(p[y]) + spread + 0.1


class _LogPrior(no.AbstractVectorField):
    def encode(self, x, *, key=None):
        return jnp.asarray(x).reshape(-1)

    def __call__(self, t, z, features):
        return features


def test_random_labels_are_not_seen_at_evaluation():
    """A model trained on random labels scores at chance on new images: the label never leaks into a prediction."""
    rng = np.random.default_rng(0)
    xs = rng.uniform(size=(600, 2, 2, 1)).astype(np.float32)
    ys = rng.integers(0, 3, 600).astype(np.int32)
    state = no.TrainState.create(dt_model(eta=1.0), no.blockwise(adam()), key=jr.key(1))
    for state, _ in no.train(state, [(xs[i : i + 50], ys[i : i + 50]) for i in range(0, 300, 50)] * 5):
        pass
    for how in ({}, {"start": "noise", "sampler": state.model.own_sampler, "decoder": no.ReadoutDecoder()}):
        found = no.evaluate(state.model, xs[300:], ys[300:], key=jr.key(2), **how)
        assert abs(found.accuracy - 1 / 3) < 5 * (2 / 9 / 300) ** 0.5


def test_a_state_keeps_blocks_apart_whatever_its_optimiser():
    """Else the norm of all would clip each."""
    model, clipped = dt_model(), optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    plain, blockwise = (no.TrainState.create(model, o, key=jr.key(1)) for o in (clipped, no.blockwise(clipped)))
    (after, _), (expected, _) = (no.train_step(state, *blobs(6)) for state in (plain, blockwise))
    for a, b in zip(arrays(after.model), arrays(expected.model), strict=True):
        np.testing.assert_array_equal(a, b)
