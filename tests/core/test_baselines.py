"""The baselines of the paper, the generative SDE, and every combination of the parts."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import adam, blobs, oracle_model
from scipy.stats import chi2

import noprop_ode as no


def make(key, dim=3):
    return no.nn.MLPField((2, 2, 1), 3, dim, width=8, time_size=4, key=key)


def backprop():
    return no.Backprop(no.Blocks(make, 3, key=jr.key(0)), embedding=no.OneHot(3), key=jr.key(1))


def adjoint(adjoint=None, steps=4):
    sampler = no.ODE(diffrax.Heun(), steps=steps, adjoint=adjoint)
    return no.AdjointODE(make(jr.key(0)), embedding=no.OneHot(3), sampler=sampler, key=jr.key(1))


def test_backprop_is_its_blocks_as_euler_steps(key):
    """The chain of eq. 17 written out, against the same model run by a sampler."""
    model, x = backprop(), jnp.ones((2, 2, 1), jnp.float32)
    model = eqx.tree_at(lambda m: m.gates, model, jnp.array([0.3, -0.2, 1.5], jnp.float32))
    start_key, _ = jr.split(key)
    log_p = model(x, key=key, sampler=no.ODE(diffrax.Euler(), steps=3))
    z = jr.normal(start_key, (3,), jnp.float32)
    for k in range(3):
        block, gate = model.field.block(k), np.tanh([0.3, -0.2, 1.5][k])
        u_hat = jax.nn.softmax(block(jnp.asarray(k / 3, jnp.float32), z, block.encode(x)))
        z = (1 - gate) * z + gate * u_hat
    np.testing.assert_allclose(log_p, model.readout(z, model.embedding), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [None, 0.25, 0.7])
@pytest.mark.parametrize("norm", [1.0, 4.0])
def test_the_readout_starts_at_the_nearest_embedding(key, scale, norm):
    embedding = no.PrototypeEmbedding(norm * jnp.eye(3, dtype=jnp.float32).reshape(3, 1, 3, 1))
    z = norm * jr.normal(key, (3,), jnp.float32)
    nearest = no.NearestEmbedding(norm / 4 if scale is None else scale)
    found = no.gaussian_readout(embedding, scale=scale)(z, embedding)
    np.testing.assert_allclose(found, nearest(z, embedding), rtol=1e-5, atol=1e-4)


def test_a_readout_without_width_is_refused():
    with pytest.raises(ValueError, match="must be positive; got 0"):
        no.gaussian_readout(no.OneHot(3), scale=0.0)


def supervised():
    return no.Supervised(make(jr.key(0)), embedding=no.OneHot(3))


def test_the_supervised_twin_is_the_denoising_error_of_ct_at_pure_noise(key):
    """With a state of zero there is no evidence, and the image alone decides."""
    xs, ys = blobs(6)
    model = no.NoPropCT(make(jr.key(0)), embedding=no.OneHot(3), objective=no.CrossEntropy(), evidence_skip=True)
    zero = jnp.zeros(3, jnp.float32)
    logits = [model.logits(jnp.float32(0), zero, model.field.encode(jnp.asarray(x))) for x in xs]
    errors = [model.objective.error(found, jnp.asarray(y), model.embedding) for found, y in zip(logits, ys)]
    np.testing.assert_allclose(supervised().batch_loss(xs, ys, key=key).total, np.mean(errors), rtol=1e-5)


def first_weights(field):
    return np.asarray(jax.tree.leaves(eqx.filter(field, eqx.is_inexact_array))[0])


@pytest.mark.parametrize("make_model", [backprop, adjoint, supervised], ids=["backprop", "adjoint", "supervised"])
def test_baselines_learn_and_their_gradient_goes_all_the_way(make_model, key):
    model = make_model()
    state, losses = no.TrainState.create(model, adam(), key=key), []
    for state, metrics in no.train(state, [blobs()] * 40):
        losses.append(float(metrics.loss))
    # Unlike NoProp's, this loss reaches every block from the end of the chain: without a gradient nothing moves.
    moved = first_weights(state.model.field) != first_weights(model.field)
    assert all(block.any() for block in (moved if isinstance(model, no.Backprop) else [moved]))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05


@pytest.mark.slow
def test_the_adjoint_model_can_outgrow_its_noise(key):
    """Ten images it sees again and again: a velocity bounded by the embeddings could not reach 60 %."""
    xs = np.tile(np.random.default_rng(0).integers(0, 256, (10, 2, 2, 1), np.uint8), (8, 1, 1, 1))
    ys = np.tile(np.arange(10, dtype=np.int32), 8)
    field = no.nn.MLPField((2, 2, 1), 10, 10, width=64, time_size=4, key=jr.key(0))
    sampler = no.ODE(diffrax.Heun(), steps=4)
    state = no.TrainState.create(
        no.AdjointODE(field, embedding=no.OneHot(10), sampler=sampler, key=jr.key(1)), adam(1e-2), key=key
    )
    for state, _ in no.train(state, [(xs, ys)] * 200):
        pass
    assert no.evaluate(state.model, xs, ys, key=key).accuracy > 0.8


@pytest.mark.slow
def test_adjoints_agree(key):
    def gradient(how):
        model = adjoint(how, steps=40)
        return eqx.filter_jit(eqx.filter_grad(lambda m: m.batch_loss(*blobs(4), key=key).total))(model).field

    direct, back = gradient(diffrax.RecursiveCheckpointAdjoint()), gradient(diffrax.BacksolveAdjoint())
    for a, b in zip(*(jax.tree.leaves(eqx.filter(g, eqx.is_inexact_array)) for g in (direct, back))):
        np.testing.assert_allclose(a, b, rtol=5e-2, atol=2e-3)


@pytest.mark.parametrize("make_model", [backprop, adjoint], ids=["backprop", "adjoint"])
def test_a_network_trained_end_to_end_has_no_known_marginal(make_model, key):
    how = {"sampler": no.ODE(diffrax.Euler(), steps=3), "decoder": no.PosteriorDecoder()}
    with pytest.raises(TypeError, match="ReadoutDecoder"):
        no.predict_log_proba(make_model(), blobs(3)[0], key=key, **how)


P = np.array([0.6, 0.3, 0.1])


@pytest.mark.parametrize(
    "solver",
    [
        diffrax.Euler(),
        pytest.param(diffrax.ShARK(), marks=pytest.mark.slow),
        pytest.param(diffrax.SRA1(), marks=pytest.mark.slow),
    ],
    ids=lambda s: type(s).__name__,
)
def test_the_generative_sde_samples_the_class(key, solver):
    model = oracle_model(no.OneHot(3), no.CosineSchedule(-12.0, 7.0))
    x = jnp.asarray(np.log(P), jnp.float32).reshape(1, 1, 3)
    run = eqx.filter_jit(jax.vmap(lambda key: model(x, key=key, sampler=no.SDE(100, solver))))
    counts = np.bincount(np.asarray(jnp.argmax(run(jr.split(key, 4000)), axis=1)), minlength=3)
    assert np.sum((counts - 4000 * P) ** 2 / (4000 * P)) < chi2.isf(1e-4, df=2)


def test_an_sde_needs_a_solver_for_sdes():
    with pytest.raises(TypeError, match="does not solve SDEs"):
        no.SDE(10, diffrax.Tsit5())


EMBEDDINGS = {
    "one-hot": lambda: no.OneHot(3),
    "learned": lambda: no.LearnedEmbedding(3, 4, key=jr.key(0)),
    "prototype": lambda: no.PrototypeEmbedding(jr.uniform(jr.key(0), (3, 2, 2, 1), jnp.float32)),
}
READOUTS = {
    "linear": lambda dim: no.LinearReadout(dim, 3, key=jr.key(0)),
    "posterior": lambda dim: no.PosteriorReadout(dim, 3, key=jr.key(0)),
    "nearest": lambda dim: no.NearestEmbedding(),
}
VARIANTS = {
    "dt": lambda e, r: no.NoPropDT(no.Blocks(lambda k: make(k, e.dim), 2, key=jr.key(0)), embedding=e, readout=r),
    "ct": lambda e, r: no.NoPropCT(make(jr.key(0), e.dim), embedding=e, readout=r),
    "fm": lambda e, r: no.NoPropFM(make(jr.key(0), e.dim), embedding=e, readout=r, sigma=0.1),
}
SAMPLERS = {
    "euler": no.ODE(diffrax.Euler(), steps=2),
    "tsit5": no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-2, atol=1e-2)),
    "ancestral": no.Ancestral(2),
    "ddim": no.Ancestral(2, churn=0.0),
    "sde": no.SDE(2),
    "early": no.EarlyExit(no.ODE(diffrax.Heun(), steps=2), confidence=0.5),
    "early ancestral": no.EarlyExit(no.Ancestral(2), confidence=0.5),
}


@pytest.mark.parametrize("variant", ["ct", "fm", pytest.param("dt", marks=pytest.mark.slow)])
@pytest.mark.parametrize("embedding", ["one-hot", *(pytest.param(e, marks=pytest.mark.slow) for e in EMBEDDINGS)])
def test_every_combination_works_or_says_why_not(variant, embedding, key, request):
    x, y = jnp.ones((2, 2, 1), jnp.float32), jnp.asarray(1)
    every = request.node.get_closest_marker("slow") is not None
    for readout in READOUTS:
        e = EMBEDDINGS[embedding]()
        model = VARIANTS[variant](e, READOUTS[readout](e.dim))
        grads = eqx.filter_jit(eqx.filter_grad(lambda m: m.loss(x, y, key=key).total))(model)
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads) if eqx.is_array(g))
        few = {"linear": [n for n in SAMPLERS if "early" not in n]}.get(readout, ["euler"])
        for name in SAMPLERS if every else few:
            sampler = SAMPLERS[name]
            if variant == "fm" and name in ("ancestral", "ddim", "sde", "early ancestral"):
                with pytest.raises(TypeError, match="Gaussian path"):
                    model(x, key=key, sampler=sampler)
            else:
                log_p = eqx.filter_jit(model)(x, key=key, sampler=sampler)
                np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-4)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnets_have_their_depth_and_their_features(depth):
    shape = (32, 32, 3)
    net = jax.eval_shape(lambda: eqx.filter(no.nn.ResNet(depth, shape, width=64, key=jr.key(0)), eqx.is_array))
    layers = [leaf for leaf in jax.tree.leaves(net) if leaf.ndim == 4 and leaf.shape[0] == 3]
    ones = [leaf for leaf in jax.tree.leaves(net) if leaf.ndim == 4 and leaf.shape[0] == 1]
    shortcuts = 3 if depth < 50 else 4  # convolutions beside the path
    assert len(layers) + len(ones) - shortcuts + 1 == depth  # and the classifier, which the head is
    small = no.nn.ResNet(depth, (28, 28, 1), width=4, key=jr.key(0))
    field = no.nn.BackboneField(small, 10, 5, width=8, key=jr.key(1))
    x, z, t = jnp.zeros((28, 28, 1), jnp.uint8), jnp.zeros(5, jnp.float32), jnp.zeros((), jnp.float32)
    assert jax.eval_shape(lambda: field(t, z, field.encode(x))).shape == (10,)


def test_an_unknown_depth():
    with pytest.raises(ValueError, match="18, 34, 50, 101, 152; got 20"):
        no.nn.ResNet(20, (32, 32, 3), key=jr.key(0))


@pytest.mark.parametrize("wrap", [no.nn.BackboneField, no.nn.BackboneBlock])
def test_any_backbone_makes_a_field(wrap, key):
    backbone = no.nn.SimpleCNN((8, 8, 1), width=4, key=key)
    field = wrap(backbone, 3, 3, width=8, key=key)
    model = no.NoPropCT(field, embedding=no.OneHot(3))
    assert bool(jnp.isfinite(model.loss(jnp.ones((8, 8, 1), jnp.uint8), 1, key=key).total))
    with pytest.raises(ValueError, match="8x8"):
        no.nn.SimpleCNN((4, 4, 1), key=key)
