"""Images that are encoded once for several predictions."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import blobs, mlp_model

import noprop_ode as no


XS, YS = blobs(10)
WAYS = {
    "default": {},
    "several draws": {"sampler": no.Ancestral(2), "start": "noise", "draws": 2},
    "to the readout": {"sampler": no.Ancestral(3), "start": "noise", "decoder": no.ReadoutDecoder()},
    "with the mirror image": {"mirror": True},
    "shifted": {"shift": 1},
    "in all views": {"mirror": True, "shift": 1},
}


def blocks_model():
    blocks = no.Blocks(lambda k: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=k), 3, key=jr.key(0))
    return no.NoPropDT(blocks, embedding=no.OneHot(3))


@pytest.mark.parametrize("make", [mlp_model, blocks_model])
def test_encoded_images_give_what_images_give(key, make):
    model = make()
    encoded = no.encode(model, XS, mirror=True, shift=1, batch_size=4)
    assert len(encoded) == len(XS)
    for how in WAYS.values():
        own, other = (no.predict_log_proba(model, xs, key=key, batch_size=3, **how) for xs in (XS, encoded))
        np.testing.assert_allclose(other, own, rtol=1e-5, atol=1e-6)
    assert no.evaluate(model, encoded, YS, key=key) == pytest.approx(no.evaluate(model, XS, YS, key=key), rel=1e-5)


def test_the_image_branch_runs_once_an_image(key):
    model = mlp_model(watch=True)
    encoded = no.encode(model, XS)
    for how in ("default", "several draws", "to the readout"):
        no.evaluate(model, encoded, YS, key=key, **WAYS[how])
    jax.effects_barrier()
    assert model.field.encodes.n == len(XS)


def test_features_of_any_form_are_cut_and_padded(key):
    """Several arrays, and what is no array."""
    inner = mlp_model()

    class Field(no.AbstractVectorField):
        def encode(self, x, *, key=None):
            return {"features": inner.field.encode(x), "scale": jnp.ones((), jnp.float32), "name": "a"}

        def __call__(self, t, z, features):
            assert features["name"] == "a"
            return features["scale"] * inner.field(t, z, features["features"])

    model = no.NoPropCT(Field(), embedding=no.OneHot(3))
    own, other = (
        no.predict_log_proba(model, xs, key=key, batch_size=4) for xs in (XS, no.encode(model, XS, batch_size=4))
    )
    np.testing.assert_allclose(other, own, rtol=1e-6)


@pytest.mark.parametrize("make", [mlp_model, blocks_model])
def test_features_of_another_model_are_refused(key, make):
    wider = no.nn.MLPField((2, 2, 1), 3, 3, width=9, key=key)
    encoded = no.encode(no.NoPropCT(wider, embedding=no.OneHot(3)), XS)
    with pytest.raises(
        ValueError, match=r"features of this model, .* got \[\(9,\)\].*noprop_ode.encode\(model, images\)"
    ):
        no.predict(make(), encoded, key=key)


def test_mirror_images_that_were_not_encoded_are_asked_for(key):
    model = mlp_model()
    with pytest.raises(ValueError, match=r"encode\(model, images, mirror=True, shift=0\)"):
        no.predict(model, no.encode(model, XS), key=key, mirror=True)
    with pytest.raises(ValueError, match=r"mirror=False, shift=1\)"):
        no.predict(model, no.encode(model, XS, mirror=True), key=key, shift=1)


@pytest.mark.parametrize("xs, error", [(XS[:0], ValueError), (XS.astype(np.int32), TypeError)])
def test_what_is_no_image_is_refused(xs, error):
    with pytest.raises(error):
        no.encode(mlp_model(), xs)


def test_the_weights_of_an_ensemble_are_fitted_to_encoded_images_too():
    model = blocks_model()
    own, other = (no.fit_ensemble(model, xs, YS, [0.0, 0.4]) for xs in (XS, no.encode(model, XS)))
    np.testing.assert_allclose(own.weights, other.weights, atol=1e-6)
