"""Cases for eight simulated devices; `test_parallel.py` runs them in a process that has so many."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam, blobs

import noprop_ode as no
from benchmarks.devices import collectives
from noprop_ode._prediction.encode_batch import _encoded_by_block, encode_batch
from noprop_ode._prediction.in_batches import _spread
from noprop_ode._prediction.one import Positions, batch_starts, predict_batch_from
from noprop_ode._training.by_block import add_block, begin, finish, of_blocks
from noprop_ode._training.generator import _jitted_step


def dt_model(num_blocks=4, embedding=None, **how):
    embedding = no.OneHot(3) if embedding is None else embedding

    def make(key):
        return no.nn.MLPField((2, 2, 1), 3, embedding.dim, width=16, time_size=4, key=key)

    return no.NoPropDT(no.Blocks(make, num_blocks, key=jr.key(0)), embedding=embedding, **how)


def ct_model():
    field = no.nn.MLPField((2, 2, 1), 3, 3, width=16, time_size=4, key=jr.key(0))
    return no.NoPropCT(field, embedding=no.OneHot(3), schedule=no.LearnedSchedule(key=jr.key(2)))


def learned():
    return dt_model(embedding=no.LearnedEmbedding(3, 5, key=jr.key(1)), schedule=no.LearnedSchedule(key=jr.key(2)))


MODELS = {"dt": dt_model, "learned": learned, "ct": ct_model}


def optimiser(model):
    inner = optax.chain(optax.clip_by_global_norm(0.5), adam(1e-2, weight_decay=0.1))
    return inner if model.independent_blocks is None else no.blockwise(inner)


def start(model):
    return no.TrainState.create(model, optimiser(model), key=jr.key(3), average_decay=0.9)


def numbers(tree):
    return [np.asarray(a) for a in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))]


def trained(model, parallel=None, **how):
    losses = []
    for state, metrics in no.train(start(model), [blobs(24, seed=s) for s in range(3)], parallel=parallel, **how):
        losses += np.ravel(metrics.loss).tolist()
    return state, losses


@pytest.fixture(scope="module")
def alone():
    """What a model arrives at on one device, by its name; trained once each, and only those that are asked for."""
    return functools.cache(lambda name: trained(MODELS[name]()))


@pytest.mark.parametrize(
    "name, parallel",
    [
        # Blocks of one-hot labels on two devices, of a process each, are among the quick tests of processes.
        pytest.param("dt", no.Parallel(data=2, block=4), marks=pytest.mark.slow),
        ("learned", no.Parallel(data=2, block=2, shard_weights=True)),
        ("ct", no.Parallel(data=4, shard_weights=True)),
    ],
)
def test_any_layout_gives_the_numbers_of_one_device(name, parallel, alone):
    state, losses = trained(MODELS[name](), parallel)
    expected, expected_losses = alone(name)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    for part in ("model", "average", "opt_state"):
        for a, b in zip(numbers(getattr(state, part)), numbers(getattr(expected, part)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    # Weights lie where the layout says, after the steps as before them.
    for a in jax.tree.leaves(eqx.filter(state.model.field, eqx.is_inexact_array)):
        share = a.addressable_shards[0].data.size / a.size
        if parallel.block > 1:
            assert share <= 1 / parallel.block
    if parallel.shard_weights:
        size = sum(a.nbytes for a in numbers(state.model.field))
        own = [
            a.addressable_shards[0].data.nbytes for a in jax.tree.leaves(eqx.filter(state.model.field, eqx.is_array))
        ]
        assert sum(own) < 1.3 * size / (parallel.data * parallel.block)


@pytest.mark.slow
def test_an_ill_block_on_one_device_stops_the_others():
    model = dt_model()
    ill = jax.tree.map(lambda a: a.at[2].set(jnp.nan) if eqx.is_inexact_array(a) else a, model.field.stacked)
    model = eqx.tree_at(lambda m: m.field.stacked, model, ill)
    with pytest.raises(no.NonFiniteLossError, match="at step 1 ") as error:
        trained(model, no.Parallel(data=2, block=2, shard_weights=True))
    for before, after in zip(numbers(model.field), numbers(error.value.state.model.field), strict=True):
        np.testing.assert_array_equal(before[2:], after[2:])  # on the device of the ill block
        assert np.isfinite(after[:2]).all()
    np.testing.assert_array_equal(model.readout.weight, error.value.state.model.readout.weight)


@pytest.mark.slow
def test_several_steps_in_a_call(alone):
    _, losses = trained(ct_model(), no.Parallel(data=8), steps_per_call=3)
    np.testing.assert_allclose(losses, alone("ct")[1], rtol=1e-4)


def largest(found) -> int:
    """The most bytes of an array that one of them exchanges."""
    return max((size for _, sizes in found for size in sizes), default=0)


def of_all(found):
    """What several programs exchange."""
    return [exchanged for program in found for exchanged in collectives(program)]


def programs(model, parallel):
    """The program that trains blocks, and those that begin and end a step."""
    state = parallel.place(start(model))
    xs, ys = (parallel.place_batch(jnp.asarray(a)) for a in blobs(24))
    inputs, (blocks, rest) = (xs, ys, parallel), of_blocks(state)
    gathered = begin(inputs, state)
    ends = [begin.lower(inputs, state), finish.lower(parallel, rest, gathered)]
    return add_block.lower((*inputs, rest), blocks, gathered), ends


def test_blocks_on_different_devices_exchange_nothing():
    model = dt_model(8)
    gradients, end = programs(model, no.Parallel(block=8))
    assert collectives(gradients) == []
    # The readout of all of them, and numbers for the logs: loss, norm, whether all is finite.
    assert largest(of_all(end)) <= model.readout.weight.nbytes


def test_blocks_that_share_an_embedding_sum_its_gradient_once():
    gradients, end = programs(learned(), no.Parallel(block=4))
    assert collectives(gradients) == []
    shared = sum(a.nbytes for a in jax.tree.leaves(eqx.filter(learned().embedding, eqx.is_array)))
    found = of_all(end)
    assert {kind for kind, _ in found} == {"all-reduce"}
    assert largest(found) < 10 * shared < sum(a.nbytes for a in numbers(learned().field))


@pytest.mark.slow
def test_the_data_axis_sums_gradients():
    gradients, _ = programs(dt_model(), no.Parallel(data=2, block=2))
    assert {kind for kind, _ in collectives(gradients)} == {"all-reduce"}
    state, parallel = start(ct_model()), no.Parallel(data=2)
    xs, ys = (parallel.place_batch(jnp.asarray(a)) for a in blobs(24))
    assert {kind for kind, _ in collectives(_jitted_step.lower((xs, ys, parallel), parallel.place(state)))} == {
        "all-reduce"
    }


def fitted(parallel=None, **how):
    xs, ys = blobs(60)
    return no.fit(
        dt_model(),
        no.data.from_arrays(xs, ys, validation=12),
        optimiser=adam(1e-2),
        epochs=2,
        batch_size=8,
        parallel=parallel,
        progress=False,
        **how,
    )


def stop(run, event):
    if isinstance(event, no.EpochEnded) and event.epoch == 1:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_resumes_to_the_last_bit_on_the_same_layout_and_goes_on_on_another(tmp_path):
    layout = no.Parallel(data=2, block=4)
    whole = fitted(layout)
    for other, same in ((layout, True), (None, False)):
        folder = tmp_path / repr(other)
        with pytest.raises(KeyboardInterrupt):
            fitted(layout, folder=folder, callbacks=[stop], checkpoint_seconds=0.0)
        again = fitted(other, folder=folder, resume=True)
        for a, b in zip(numbers(again.model), numbers(whole.model), strict=True):
            if same:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_prediction_follows_the_model_and_takes_a_ragged_batch(alone):
    state, _ = trained(dt_model(), no.Parallel(data=2, block=4))
    xs, ys = blobs(29, seed=9)
    how = {"key": jr.key(0), "prediction": state.model.paper_prediction}
    expected = no.predict_log_proba(alone("dt")[0].model, xs, batch_size=29, **how)
    for batch_size in (29, 10):
        log_p = no.predict_log_proba(state.model, xs, batch_size=batch_size, **how)
        np.testing.assert_allclose(log_p, expected, atol=1e-3)
        encoded = no.encode(state.model, xs, batch_size=batch_size)
        log_p = no.predict_log_proba(state.model, encoded, batch_size=12, **how)
        np.testing.assert_allclose(log_p, expected, atol=1e-3)
    assert no.evaluate(state.model, xs, ys, key=jr.key(0)).num_examples == 29


def test_devices_that_predict_exchange_nothing():
    model, share = _spread(no.Parallel(data=2, block=4).place(start(dt_model())).model)
    xs = jax.device_put(blobs(16)[0], share)
    how, k = model.paper_prediction, jnp.asarray(0)
    assert collectives(_encoded_by_block.lower(model.field, k, xs)) == []
    features, positions = [encode_batch(model, xs)], Positions(k, len(xs), jr.key(0))
    starts = batch_starts(model, how.start, how.draws, positions)
    assert collectives(predict_batch_from.lower(model, features, starts, positions, how)) == []


@pytest.mark.parametrize(
    "make, parallel, error, message",
    [
        (dt_model, no.Parallel(block=3), ValueError, r"4 blocks do not divide among block=3 devices; choose a divisor"),
        (dt_model, no.Parallel(data=5), ValueError, r"batch of 24 images does not divide among data=5 devices"),
        (ct_model, no.Parallel(block=2), TypeError, r"NoPropCT has no blocks. Use block=1"),
        (lambda: dt_model(plan=no.SampledBlock()), no.Parallel(block=2), TypeError, r"NoPropDT has SampledBlock"),
        (dt_model, no.Parallel(data=4, block=4), ValueError, r"need 16 devices; JAX sees 8 .*JAX_NUM_CPU_DEVICES=16"),
    ],
)
def test_what_does_not_divide_is_refused(make, parallel, error, message):
    with pytest.raises(error, match=message):
        trained(make(), parallel)
