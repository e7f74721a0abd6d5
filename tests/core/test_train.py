"""Training: it learns, compiles once, spares what it is given, and stops at the last good weights."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam, blobs, mlp_model

import noprop_ode as no


def create(model=None, *, rate=1e-2, seed=0, **how):
    model = mlp_model(objective=no.CrossEntropy()) if model is None else model
    return no.TrainState.create(model, adam(rate, weight_decay=how.pop("weight_decay", 0.0)), key=jr.key(seed), **how)


def arrays(tree):
    """Copies of the numbers in a PyTree, on the host."""
    return [np.array(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(arrays(a), arrays(b), strict=True))


def run(state, batches, **how):
    """The last state and all losses."""
    losses = []
    for state, metrics in no.train(state, batches, **how):
        losses.append(float(metrics.loss))
    return state, losses


def test_a_toy_problem_is_learned(key):
    xs, ys = blobs(60)
    state, losses = run(create(), [(xs, ys)] * 80)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    fresh = blobs(90, seed=1)
    assert no.evaluate(create().model, *fresh, key=key).accuracy < 0.8
    assert no.evaluate(state.model, *fresh, key=key).accuracy > 0.95


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_one_step_is_compiled_for_all_batches(steps_per_call):
    """A weak type or a changed dtype in the state would show here as a second trace."""
    model = mlp_model(watch=True, schedule=no.LearnedSchedule(key=jr.key(0)))
    state = create(model, average_decay=0.9)
    for seed in range(3):
        *_, (state, _) = no.train(state, [blobs(12, seed=seed)] * 4, steps_per_call=steps_per_call)
    assert model.field.traces.n == 1


def test_the_state_passed_in_stays_valid():
    state = create(average_decay=0.5)
    before = arrays(state)
    after, _ = run(state, [blobs()] * 3)
    assert all(np.array_equal(x, y) for x, y in zip(before, arrays(state), strict=True))
    assert not same(after.model, state.model)
    assert int(state.step) == 0 and int(after.step) == 3


def test_metrics_are_the_terms_of_the_loss():
    xs, ys = blobs()
    state = create()
    terms = eqx.filter_jit(lambda m: m.batch_loss(xs, ys, key=jr.fold_in(state.key, state.step)))(state.model)
    ((_, metrics),) = no.train(state, [(xs, ys)])
    assert int(metrics.step) == 1
    for name in ("denoising", "readout", "prior"):
        assert float(getattr(metrics, name)) == pytest.approx(float(getattr(terms, name)), rel=1e-5)
    assert float(metrics.loss) == pytest.approx(float(terms.total), rel=1e-5)
    assert float(metrics.gradient_norm) > 0


def test_the_average_is_what_it_says():
    decay, expected, step = 0.5, None, 0
    state = create(average_decay=decay)
    expected = arrays(state.model)
    for step, (state, _) in enumerate(no.train(state, [blobs(seed=i) for i in range(15)])):
        d = min(decay, (1 + step) / (10 + step))
        expected = [d * a + (1 - d) * p for a, p in zip(expected, arrays(state.model), strict=True)]
        for a, b in zip(expected, arrays(state.average), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert step == 14
    for a, b in zip(arrays(state.evaluation_model), arrays(state.average), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_average_without_memory_is_the_model():
    state, _ = run(create(average_decay=0.0), [blobs()] * 3)
    assert same(state.average, state.model)
    assert create().average is None


@pytest.mark.parametrize("make", [no.LearnedSchedule, no.SigmoidSchedule], ids=["learned", "sigmoid"])
@pytest.mark.parametrize("trainable", [True, False])
def test_only_a_trainable_schedule_changes(make, trainable):
    """A frozen one stays bit for bit, under weight decay too."""
    how = {"key": jr.key(0)} if make is no.LearnedSchedule else {}
    model = mlp_model(schedule=make(trainable=trainable, **how))
    state, _ = run(create(model, weight_decay=0.5), [blobs()] * 2)
    assert same(state.model.schedule, model.schedule) != trainable
    assert not same(state.model.field, model.field)


def test_a_learned_schedule_is_trained_by_default(key):
    assert no.LearnedSchedule(key=key).trainable
    mask = no.trainable_mask(mlp_model(schedule=no.LearnedSchedule(key=key)))
    assert all(jax.tree.leaves(mask.schedule)) and all(jax.tree.leaves(mask.field))
    mask = no.trainable_mask(mlp_model(schedule=no.LearnedSchedule(trainable=False, key=key)))
    assert not any(jax.tree.leaves(mask.schedule)) and all(jax.tree.leaves(mask.field))


class Fragile(no.AbstractVectorField):
    """A field that breaks on images with a pixel above 2: its value becomes NaN, or its gradient alone."""

    field: no.AbstractVectorField
    scale: jax.Array
    kind: str = eqx.field(static=True)

    def encode(self, x, *, key=None):
        return self.field.encode(x, key=key), 2 - jnp.max(jnp.asarray(x))

    def __call__(self, t, z, features):
        features, margin = features
        logits = self.scale * self.field(t, z, features)
        if self.kind == "loss":
            # Not jnp.where(..., jnp.nan, ...): XLA on CPU loses such a constant in the softmax that follows.
            return logits + 0 * jnp.sqrt(margin)
        # The slope of the root at zero is infinite, times zero: NaN.
        return logits + jnp.sqrt(jnp.where(margin < 0, 0.0, 1.0) * self.scale**2)


def fragile(kind):
    model = mlp_model()
    return eqx.tree_at(lambda m: m.field, model, Fragile(model.field, jnp.ones((), jnp.float32), kind))


def poisoned(n):
    """So many batches, of which the third breaks a fragile field."""
    batches = [blobs(12, seed=i) for i in range(6)]
    batches[2][0][0, 0, 0, 0] = 3.0
    return batches[:n]


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("check_every, length", [(1, 6), (5, 6), (5, 4)])
def test_ill_training_stops_with_the_last_good_weights(kind, check_every, length):
    good, _ = run(create(fragile(kind), average_decay=0.9), poisoned(2))
    with pytest.raises(no.NonFiniteLossError, match="at step 3 ") as error:
        run(create(fragile(kind), average_decay=0.9), poisoned(length), check_every=check_every)
    assert error.value.step == 3
    assert int(error.value.state.step) == 2
    assert same(error.value.state.model, good.model)
    assert same(error.value.state.average, good.average)
    assert same(error.value.state.opt_state, good.opt_state)


def test_the_same_seed_gives_the_same_weights():
    batches = [blobs(seed=i) for i in range(3)]
    (first, _), (second, _), (other, _) = (run(create(seed=seed), batches) for seed in (0, 0, 1))
    assert same(first, second)
    assert not same(first.model, other.model)


def test_training_resumes_where_it_stopped():
    batches = [blobs(seed=i) for i in range(4)]
    whole, _ = run(create(), batches)
    half, _ = run(create(), batches[:2])
    resumed, _ = run(half, batches[2:])
    assert same(whole, resumed)


def test_no_batches_are_no_steps():
    assert list(no.train(create(), [])) == []


def test_several_steps_in_one_call_are_the_same_steps(key):
    many = [blobs(12, seed=s) for s in range(7)]
    ends = []
    for steps_per_call in (1, 3):
        state = no.TrainState.create(mlp_model(), optax.sgd(0.1), key=key)
        losses = []
        for state, metrics in no.train(state, many, steps_per_call=steps_per_call):
            losses.extend(np.atleast_1d(metrics.loss).tolist())
        assert len(losses) == int(state.step) == 7
        ends.append((losses, jax.tree.leaves(eqx.filter(state.model, eqx.is_array))))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-5)
    for a, b in zip(ends[0][1], ends[1][1]):
        np.testing.assert_allclose(a, b, atol=1e-4)  # fused differently


def test_a_bad_step_within_a_call_is_found(key):
    state = no.TrainState.create(mlp_model(), optax.sgd(1e30), key=key)
    with pytest.raises(no.NonFiniteLossError) as found:
        for state, _ in no.train(state, [blobs(12)] * 3, steps_per_call=3):
            pass
    good = found.value.state
    assert found.value.step == 2
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(eqx.filter(good.model, eqx.is_inexact_array)))
    assert bool(good.healthy)  # it can be gone on with


def test_the_error_shows_what_was_not_finite(key):
    xs, ys = blobs(12)
    poison = dataclasses.replace(no.TrainState.create(mlp_model(), optax.sgd(1e-3), key=key), step=jnp.asarray(4))
    batches = [(xs, ys), (np.full_like(xs, -3e38), ys), (xs, ys)]  # the one after it is good
    with pytest.raises(no.NonFiniteLossError, match=r"at step 6 \(loss=(nan|inf)"):
        list(no.train(poison, batches, steps_per_call=3))


def test_a_copy_outlives_the_steps_and_what_does_not_is_said(tmp_path):
    """Weights, moving average, optimiser and key: all of a state that was kept is as it was at its step."""
    batches = [blobs(6)] * 3
    seen, kept, consumed = [], [], []
    for state, _ in no.train(create(average_decay=0.9), batches):
        seen.append(arrays(state))
        kept.append(no.copied(state))
        consumed.append(state)
    for at_its_step, state in zip(seen, kept, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(at_its_step, arrays(state), strict=True))
        assert np.isfinite(no.evaluate(state.evaluation_model, *batches[0], key=jr.key(0)).nll)
    resumed, _ = run(kept[0], batches[1:])
    assert same(resumed, kept[2])
    model = consumed[0].model
    for use in (
        lambda: no.predict(model, batches[0][0], key=jr.key(0)),
        lambda: no.trajectories(model, batches[0][0], jnp.ones(1), key=jr.key(0), sampler=no.Ancestral(1)),
        lambda: no.save_arrays(tmp_path / "model.safetensors", model),
        lambda: next(no.train(consumed[0], batches)),
    ):
        with pytest.raises(ValueError, match=r"later step of training has consumed this .*noprop_ode\.copied\(state\)"):
            use()
