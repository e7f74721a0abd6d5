"""Blocks that train apart make the model that trains together."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam, blobs

import noprop_ode as no


def dt_model(num_blocks=3, embedding=None, **how):
    embedding = no.OneHot(3) if embedding is None else embedding

    def make(key):
        return no.nn.MLPField((2, 2, 1), 3, embedding.dim, width=8, time_size=4, key=key)

    return no.NoPropDT(no.Blocks(make, num_blocks, key=jr.key(0)), embedding=embedding, **how)


def numbers(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


def assert_close(a, b):
    for a, b in zip(numbers(a), numbers(b), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def splits():
    xs, ys = blobs(60)
    return no.data.from_arrays(xs, ys)


# `fit` takes apart the one that couples blocks, anew in each call.
COUPLED = optax.chain(optax.clip_by_global_norm(0.5), adam(1e-2, weight_decay=0.1))
OPTIMISER = no.blockwise(COUPLED)


def fitted(model, optimiser=OPTIMISER, **how):
    return no.fit(model, splits(), optimiser=optimiser, epochs=2, batch_size=12, progress=False, **how)


PROTOTYPES = np.random.default_rng(0).uniform(size=(3, 2, 2, 1)).astype(np.float32)
MODELS = {
    "one-hot": lambda: dt_model(objective=no.CrossEntropy(), evidence_skip=True),
    "prototypes": lambda: dt_model(
        embedding=no.PrototypeEmbedding(jnp.asarray(PROTOTYPES), trainable=False), states_per_image=2
    ),
}


@pytest.mark.parametrize("name", ["one-hot", pytest.param("prototypes", marks=pytest.mark.slow)])
def test_parts_that_train_alone_join_into_the_model_that_trains_together(name):
    model, optimiser = MODELS[name](), OPTIMISER if name == "one-hot" else COUPLED
    together = fitted(model, optimiser, average_decay=0.9)
    parts = [fitted(no.OneBlock(model, k), optimiser, average_decay=0.9) for k in (2, 0, 1)]
    joined = no.join_blocks(model, [part.model for part in parts])
    assert jax.tree.structure(joined) == jax.tree.structure(together.model)
    assert_close(joined, together.model)
    # Training did something, to the blocks and to the readout.
    for part in ("field", "readout"):
        assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(*(numbers(getattr(m, part)) for m in (model, joined))))


def test_a_part_is_the_size_of_one_block_and_classifies_by_it():
    model = dt_model(4, evidence_skip=True)
    part = no.OneBlock(model, 2)
    assert sum(a.size for a in numbers(part.field)) == sum(a.size for a in numbers(model.field)) // 4
    xs, _ = blobs(5)
    z = jnp.zeros(3, jnp.float32)
    expected = [jax.nn.log_softmax(model.logits(jnp.float32(0.5), z, model.field.encode(x))) for x in xs]
    np.testing.assert_allclose(no.predict_log_proba(part, xs, key=jr.key(0)), jnp.stack(expected), atol=1e-5)


def test_a_part_encodes_with_its_block_alone(key):
    model = no.OneBlock(dt_model(3), 1)
    assert all(len(leaf[0]) == 1 for leaf in jax.tree.leaves(no.encode(model, blobs(4)[0]).views[0]))


@pytest.mark.parametrize("k", [0, 2])
def test_the_gradient_of_a_part_is_its_share_of_that_of_the_model(k):
    model, batch = dt_model(3), blobs(6)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: m.batch_loss(*batch, key=jr.key(0)).total))
    whole, own = gradient(model), gradient(no.OneBlock(model, k))
    assert_close(own.field, jax.tree.map(lambda a: a[k : k + 1] if eqx.is_array(a) else a, whole.field))
    assert_close(own.rest.readout, whole.readout)


def test_a_part_resumes_from_its_folder(tmp_path):
    part, how = no.OneBlock(MODELS["one-hot"](), 1), {"average_decay": 0.9}
    whole = fitted(part, **how)

    def stop(run, event):
        if isinstance(event, no.EpochEnded):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(part, folder=tmp_path / "part", callbacks=[stop], **how)
    again = fitted(part, folder=tmp_path / "part", resume=True, **how)
    for a, b in zip(numbers(whole.model), numbers(again.model), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"embedding": no.LearnedEmbedding(3, 5, key=jr.key(1))}, r"Blocks that share .embedding.*do not train apart"),
        ({"schedule": no.LearnedSchedule(key=jr.key(1))}, r"Blocks that share .schedule.*do not train apart"),
        ({"plan": no.SampledBlock()}, r"expected plan=AllBlocks\(\); got SampledBlock"),
    ],
)
def test_blocks_that_share_what_learns_are_refused(how, message):
    with pytest.raises(TypeError, match=message):
        no.OneBlock(dt_model(**how), 0)


def test_end_states_that_run_through_all_blocks_are_refused():
    part = no.OneBlock(dt_model(end_state=no.SampledEndState(no.Ancestral(3))), 0)
    with pytest.raises(TypeError, match="do not train apart"):
        part.batch_loss(*blobs(6), key=jr.key(0))


def test_a_position_that_is_none_is_refused():
    with pytest.raises(ValueError, match="Expected a block from 0 to 2; got k=3"):
        no.OneBlock(dt_model(), 3)


def test_parts_that_do_not_make_the_model_are_refused():
    model = dt_model()
    parts = [no.OneBlock(model, k) for k in range(3)]
    with pytest.raises(ValueError, match="Expected the blocks 0 to 2, each once; got 0, 1"):
        no.join_blocks(model, parts[:2])
    with pytest.raises(ValueError, match="Expected the blocks 0 to 2, each once; got 0, 1, 2, 2"):
        no.join_blocks(model, [*parts, parts[2]])
    other = eqx.tree_at(lambda p: p.rest.readout.bias, parts[1], 1.1 * parts[1].rest.readout.bias)
    with pytest.raises(ValueError, match="Block 1 comes with another readout"):
        no.join_blocks(model, [parts[0], other, parts[2]])


def test_a_part_has_no_trajectory():
    part = no.OneBlock(dt_model(), 0)
    with pytest.raises(TypeError, match="join_blocks makes the model"):
        no.predict_log_proba(part, blobs(3)[0], key=jr.key(0), sampler=no.ODE(diffrax.Euler(), steps=3))


def test_blocks_of_other_settings_are_not_joined(key):
    """Numbers of a schedule are no arrays, and change what a block has learned all the same."""

    def made(low):
        blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), 2, key=key)
        return no.NoPropDT(blocks, embedding=no.OneHot(3), schedule=no.CosineSchedule(low, 7.0))

    parts = [no.OneBlock(made(-7.0), 0), no.OneBlock(made(-10.0), 1)]
    with pytest.raises(ValueError, match="Block 1 comes with another readout, embedding or schedule"):
        no.join_blocks(made(-7.0), parts)
