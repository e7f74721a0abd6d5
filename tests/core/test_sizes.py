"""Parts of a model that do not go together are refused in one sentence, when it is built or at the first batch."""

import functools
import traceback
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from helpers import adam, blobs, mlp_model

import noprop_ode as no


KEY = jr.key(0)
XS, YS = blobs(6)


def mlp(num_classes, label_dim, key=KEY):
    return no.nn.MLPField((2, 2, 1), num_classes, label_dim, width=4, time_size=4, key=key)


def conv(num_classes, label_dim, key=KEY):
    return no.nn.ConvField((6, 6, 1), num_classes, label_dim, width=4, key=key)


def low(num_classes, label_dim, key=KEY):
    return no.nn.LowPrecision(mlp(num_classes, label_dim, key))


def blocks(num_classes, label_dim):
    return no.Blocks(lambda key: low(num_classes, label_dim, key), 2, key=KEY)


KINDS = [
    (no.NoPropCT, mlp),
    (no.NoPropFM, conv),
    (no.AdjointODE, low),
    (no.Supervised, mlp),
    (no.NoPropDT, blocks),
    (no.Backprop, blocks),
]
kinds = pytest.mark.parametrize("model, field", KINDS, ids=lambda kind: kind.__name__)


@kinds
def test_a_field_of_other_sizes_is_refused_when_the_model_is_built(model, field):
    with pytest.raises(no.SizeError, match=r"^The field takes a state of dimension 4, .* dimension 3\. .*label_dim=3"):
        model(field(3, 4), embedding=no.OneHot(3))
    with pytest.raises(no.SizeError, match=r"^The field has 2 classes, but the embedding has 3\. .*num_classes=3"):
        model(field(2, 3), embedding=no.OneHot(3))
    with pytest.raises(
        no.SizeError, match=r"^The field takes a state of dimension 3, but the embedding has dimension 5"
    ):
        model(field(3, 3), embedding=no.LearnedEmbedding(3, 5, key=KEY))
    model(field(3, 3), embedding=no.OneHot(3))


class Sum(no.nn.AbstractHead):
    """A head of a user's: any number of logits, from a state of any dimension."""

    count: int

    def __call__(self, t, z, features):
        return jnp.full(self.count, features.sum() + z.sum())


@pytest.mark.parametrize("count", [2, 3])
def test_a_head_of_another_number_of_logits_is_refused_when_the_model_is_built(count):
    backbone = no.nn.ConvEncoder((6, 6, 1), size=4, key=KEY)
    field = no.nn.BackboneField(backbone, 3, 3, head=lambda *sizes, width, key: Sum(count), key=KEY)
    build = functools.partial(no.NoPropCT, field, embedding=no.OneHot(3))
    if count == 3:
        assert build().field is field
        return
    with pytest.raises(no.SizeError, match=r"BackboneField gives logits of shape \[2\].*3 classes.*shape \[3\]"):
        build()


def test_a_readout_of_other_classes_is_refused_when_the_model_is_built():
    """Reading class 2 of two would clamp, and train on the wrong number in silence."""
    with pytest.raises(no.SizeError, match=r"log-probabilities of shape \[2\], but the embedding has 3"):
        no.NoPropCT(mlp(3, 3), embedding=no.OneHot(3), readout=no.LinearReadout(3, 2, key=KEY))


class Mine(no.AbstractVectorField):
    """A field of a user's, whose features are a PyTree, and which knows no sizes before it has seen an image."""

    weight: jax.Array

    def encode(self, x, *, key=None):
        pixels = jnp.asarray(x).reshape(-1)
        return {"pixels": pixels, "more": (pixels.sum(), None)}

    def __call__(self, t, z, features):
        return self.weight @ z + features["more"][0]


def mine(count, dim):
    return no.NoPropCT(Mine(jnp.zeros((count, dim))), embedding=no.OneHot(3))


CALLS = {
    "train": lambda model: list(no.train(no.TrainState.create(model, adam(), key=KEY), [(XS, YS)])),
    "several steps": lambda model: list(
        no.train(no.TrainState.create(model, adam(), key=KEY), [(XS, YS)] * 2, steps_per_call=2)
    ),
    "predict": lambda model: no.predict(model, XS, key=KEY),
    "evaluate": lambda model: no.evaluate(model, XS, YS, key=KEY),
    "trajectories": lambda model: no.trajectories(model, XS, jnp.linspace(0, 1, 3), key=KEY, sampler=no.Ancestral(2)),
    "loss": lambda model: model.loss(XS[0], 0, key=KEY),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_field_of_a_users_is_refused_at_the_first_batch(name):
    with pytest.raises(no.SizeError, match=r"^Mine gives logits of shape \[7\].*3 classes.*shape \[3\]\.$") as refused:
        CALLS[name](mine(7, 3))
    if name != "loss":  # which is called inside of a user's own functions, too
        shown = "".join(traceback.format_exception(refused.value))
        assert "_gaussian.py" not in shown, "what traced it says nothing to a user"


def test_a_state_of_another_dimension_is_told_with_the_error_of_the_field():
    with pytest.raises(TypeError, match="contracting dimensions") as refused:
        no.predict(mine(3, 4), XS, key=KEY)
    notes = [note for note in refused.value.__notes__ if "Mine was evaluated on a state of shape [3]" in note]
    assert len(notes) == 1 and "label_dim" in notes[0]


@pytest.mark.parametrize("count", [7, 3])
def test_fit_refuses_it_before_anything_is_written(count, tmp_path):
    splits = SimpleNamespace(train=SimpleNamespace(images=XS, labels=YS), validation=None)
    fit = functools.partial(no.fit, mine(count, 3), splits, optimiser=adam(), epochs=1, batch_size=2, progress=False)
    if count == 3:
        assert fit(folder=tmp_path / "run").progress.step == 3
        return
    with pytest.raises(no.SizeError, match="Mine gives logits"):
        fit(folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("splits", [(XS, YS), {"train": (XS, YS)}, SimpleNamespace(train=None)])
def test_fit_says_what_splits_are(splits):
    with pytest.raises(TypeError, match=r"parts train and validation.*; got a .*from_arrays\(images, labels\)"):
        no.fit(mlp_model(), splits, optimiser=adam(), epochs=1)


def test_a_model_is_still_built_under_tracing():
    """As `vmap` over keys builds an ensemble, and `eval_shape` a skeleton for a checkpoint."""

    def build(key):
        return no.NoPropCT(mlp(3, 3, key), embedding=no.OneHot(3), schedule=no.LearnedSchedule(key=key))

    assert eqx.filter_vmap(build)(jr.split(KEY, 2)).field.encoder[0].weight.shape[0] == 2
    assert isinstance(eqx.filter_eval_shape(build, KEY).field.encoder[0].weight, jax.ShapeDtypeStruct)


def test_a_readout_of_another_dimension_is_told(key):
    field = no.nn.MLPField((2, 2, 1), 10, 20, width=8, key=key)
    with pytest.raises(ValueError, match="LinearReadout cannot be evaluated on a state of dimension 20"):
        no.NoPropCT(field, embedding=no.LearnedEmbedding(10, 20, key=key), readout=no.LinearReadout(10, 10, key=key))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda key: no.nn.ResNet(18, (8, 8, 1), width=4, key=key), "stage 4 of a ResNet keeps 1"),
        (lambda key: no.nn.BlockHead(16, 10, 10, width=3, key=key), "a width of at least 4"),
        (lambda key: no.nn.ContinuousHead(16, 10, 10, time_size=7, key=key), "is even; got 7"),
        (lambda key: no.nn.MLPField((2, 2, 1), 3, 3, time_size=7, key=key), "is even; got 7"),
    ],
)
def test_sizes_that_make_a_layer_constant_are_refused(make, message, key):
    with pytest.raises(ValueError, match=message):
        make(key)


class Narrow(no.nn.AbstractBackbone):
    """A network that gives half as many features as it says."""

    feature_size: int = 8
    image_shape: tuple[int, int, int] = (2, 2, 1)

    def __call__(self, x, *, key=None):
        return jnp.ravel(x)


def test_a_backbone_of_other_features_than_it_says_is_named():
    model = no.NoPropCT(no.nn.BackboneField(Narrow(), 3, 3, width=4, key=KEY), embedding=no.OneHot(3))
    with pytest.raises(ValueError, match=r"Narrow gives features of shape \[4\], .* feature_size=8"):
        model.loss(XS[0], 1, key=KEY)


def test_a_label_branch_of_another_width_is_named():
    shape = (8, 8, 1)
    field = no.nn.ConvField(shape, 3, 64, width=16, label=no.nn.ConvLabelBranch(shape, size=8, key=KEY), key=KEY)
    with pytest.raises(ValueError, match=r"joins vectors of 16, 8, 16 numbers.* `label` branch .* as the `width`"):
        field(jnp.zeros(()), jnp.zeros(64), field.encode(jnp.zeros(shape)))


class Pair(no.AbstractVectorField):
    def encode(self, x, *, key=None):
        return jnp.zeros(())

    def __call__(self, t, z, features):
        return z, features


def test_a_field_that_gives_no_array_is_named():
    with pytest.raises(no.SizeError, match=r"^Pair gives a tuple of 2, but the embedding has 3 classes"):
        no.NoPropCT(Pair(), embedding=no.OneHot(3)).loss(XS[0], 1, key=KEY)
