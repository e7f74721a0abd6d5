"""A step with T blocks as T calls of one compiled function: the same numbers, and the cost of one."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import Watched, adam, blobs

import noprop_ode as no
from noprop_ode._training.by_block import add_block, begin, goes_by_block, of_blocks


class Dropping(no.AbstractVectorField):
    """Another field, with dropout on its features."""

    field: no.AbstractVectorField

    def encode(self, x, *, key=None):
        features = self.field.encode(x)
        return features if key is None else 2 * jr.bernoulli(key, shape=features.shape).astype(jnp.float32) * features

    def __call__(self, t, z, features):
        return self.field(t, z, features)


def make(key, dim=3):
    return Dropping(no.nn.MLPField((2, 2, 1), 3, dim, width=8, time_size=4, key=key))


def dt_model(num_blocks=3, embedding=None, make=make, **how):
    embedding = no.OneHot(3) if embedding is None else embedding
    return no.NoPropDT(
        no.Blocks(lambda key: make(key, embedding.dim), num_blocks, key=jr.key(0)), embedding=embedding, **how
    )


def numbers(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


MODELS = {
    "fixed labels": lambda: dt_model(),
    "shared parts learn": lambda: dt_model(
        embedding=no.LearnedEmbedding(3, 5, key=jr.key(1)), schedule=no.LearnedSchedule(key=jr.key(2))
    ),
    "states": lambda: dt_model(embedding=no.LearnedEmbedding(3, 5, key=jr.key(1)), states_per_image=3),
    "one block": lambda: dt_model(1),
    "sampled end states": lambda: dt_model(end_state=no.SampledEndState(no.Ancestral(3))),
}


CLIPPED_ADAM = optax.chain(optax.clip_by_global_norm(0.5), adam(1e-3, weight_decay=0.1))


QUICK = ("fixed labels", "shared parts learn")


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in MODELS]
)
@pytest.mark.parametrize("average_decay", [None, 0.9], ids=["plain", "averaged"])
def test_a_step_by_block_is_the_step_in_one_piece(model, average_decay):
    state = no.TrainState.create(MODELS[model](), CLIPPED_ADAM, key=jr.key(3), average_decay=average_decay)
    batches = [blobs(12, seed=seed) for seed in range(3)]
    step, whole, expected = eqx.filter_jit(no.train_step), state, []
    for xs, ys in batches:
        whole, metrics = step(whole, xs, ys)
        expected.append(metrics)
    found, by_block = [], state
    for by_block, metrics in no.train(state, batches):
        found.append(metrics)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert int(by_block.step) == len(batches)
    for part in ("model", "average", "opt_state"):
        for a, b in zip(numbers(getattr(whole, part)), numbers(getattr(by_block, part)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_blocks", [1, 5])
def test_a_step_is_traced_once_whatever_the_number_of_blocks(num_blocks):
    model = dt_model(num_blocks, make=lambda key, dim: Watched(make(key, dim)))
    for _ in no.train(no.TrainState.create(model, adam(), key=jr.key(1)), [blobs(9)] * 3):
        pass
    assert model.field.stacked.traces.n == 1
    assert model.field.stacked.encodes.n == 3 * num_blocks * 9


def test_several_steps_in_one_call_are_the_same_steps():
    batches, ends = [blobs(9, seed=seed) for seed in range(4)], []
    for steps_per_call in (1, 2):
        state = no.TrainState.create(dt_model(), no.blockwise(optax.sgd(0.01)), key=jr.key(1))
        for state, _ in no.train(state, batches, steps_per_call=steps_per_call):
            pass
        ends.append(numbers(state.model))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("average_decay", [None, 0.9], ids=["plain", "averaged"])
def test_the_memory_of_a_call_is_that_of_one_block(average_decay):
    def temporary_bytes(num_blocks):
        model = dt_model(num_blocks, make=lambda key, dim: no.nn.MLPField((2, 2, 1), 3, dim, width=32, key=key))
        state = no.TrainState.create(model, adam(1e-3, weight_decay=0.1), key=jr.key(1), average_decay=average_decay)
        data = (*map(jnp.asarray, blobs(500)), None)
        (blocks, rest), gathered = of_blocks(state), begin(data, state)
        analysis = add_block.lower((*data, rest), blocks, gathered).compile().compiled.memory_analysis()
        # Weights, two moments and the average are written in place, of one block: nothing is as large as all are.
        assert analysis.alias_size_in_bytes >= (3 if average_decay is None else 4) * sum(
            a.nbytes for a in numbers(model.field)
        )
        return analysis.temp_size_in_bytes

    assert temporary_bytes(8) < 1.02 * temporary_bytes(2)  # of a single one, nothing is copied out


def test_an_optimiser_that_couples_blocks_takes_the_step_in_one_piece():
    apart = no.TrainState.create(dt_model(), adam(), key=jr.key(1))
    assert goes_by_block(apart)
    params = eqx.filter(apart.model, no.trainable_mask(apart.model))
    coupled = dataclasses.replace(apart, optimiser=CLIPPED_ADAM, opt_state=CLIPPED_ADAM.init(params))
    assert not goes_by_block(coupled)
    data = blobs(12)
    expected, _ = eqx.filter_jit(no.train_step)(coupled, *map(jnp.asarray, data))
    found, _ = next(no.train(coupled, [data]))
    for a, b in zip(numbers(expected.model), numbers(found.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


class Muted(no.AbstractVectorField):
    """A network with a fixed gain."""

    field: no.AbstractVectorField
    gain: jax.Array

    def encode(self, x, *, key=None):
        return self.field.encode(x), jax.lax.stop_gradient(self.gain)

    def __call__(self, t, z, features):
        own, gain = features
        return gain * self.field(t, z, own)


@pytest.mark.parametrize("average_decay", [None, 0.9], ids=["plain", "averaged"])
def test_a_block_without_a_gradient_takes_no_part(average_decay):
    model = dt_model(make=lambda key, dim: Muted(make(key, dim), jnp.asarray(1.0)))
    model = eqx.tree_at(lambda m: m.field.stacked.gain, model, jnp.array([1.0, 0.0, 1.0]))
    whole = by_block = no.TrainState.create(
        model, adam(1e-2, weight_decay=0.1), key=jr.key(3), average_decay=average_decay
    )
    batches, step = [blobs(9, seed=seed) for seed in range(3)], eqx.filter_jit(no.train_step)
    for xs, ys in batches:
        whole, _ = step(whole, xs, ys)
    for by_block, _ in no.train(by_block, batches):
        pass
    for a, b in zip(numbers(whole), numbers(by_block), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for old, new in zip(numbers(model.field.stacked.field), numbers(by_block.model.field.stacked.field), strict=True):
        same = [np.array_equal(a, b) for a, b in zip(old, new)]
        assert same == [False, True, False]


class Fragile(no.AbstractVectorField):
    """A network that breaks, where `threshold` says so, on images with a pixel above it."""

    field: no.AbstractVectorField
    threshold: jax.Array

    def encode(self, x, *, key=None):
        return self.field.encode(x), jax.lax.stop_gradient(self.threshold) - jnp.max(jnp.asarray(x))

    def __call__(self, t, z, features):
        own, margin = features
        return self.field(t, z, own) + 0 * jnp.sqrt(margin)


def test_one_ill_block_stops_all_from_then_on():
    model = dt_model(make=lambda key, dim: Fragile(make(key, dim), jnp.asarray(9.0)))
    model = eqx.tree_at(lambda m: m.field.stacked.threshold, model, jnp.array([9.0, 2.0, 9.0]))
    batches = [blobs(9, seed=seed) for seed in range(4)]
    batches[2][0][0, 0, 0, 0] = 3.0
    start = no.TrainState.create(model, no.blockwise(optax.sgd(0.01, momentum=0.9)), key=jr.key(1))
    for good, _ in no.train(start, batches[:2]):
        pass
    with pytest.raises(no.NonFiniteLossError, match="at step 3 ") as error:
        for _ in no.train(start, batches, check_every=4):
            pass
    found = error.value.state
    assert int(found.step) == 2
    # The first block was trained before the second failed; the others, and what blocks share, stay as they were.
    for before, after in zip(numbers(of_blocks(good)[0]), numbers(of_blocks(found)[0]), strict=True):
        np.testing.assert_array_equal(before[1:], after[1:])
    for before, after in zip(numbers(of_blocks(good)[1]), numbers(of_blocks(found)[1]), strict=True):
        np.testing.assert_array_equal(before, after)
    first = [a[0] for a in numbers(found.model.field)]
    assert any((a != b[0]).any() for a, b in zip(first, numbers(good.model.field)))
    assert all(np.isfinite(a).all() for a in numbers(found))
