"""Values that are plausible and unusable, or unusual and usable."""

import weakref
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import adam, blobs, mlp_model
from jaxtyping import jaxtyped

import noprop_ode as no
from noprop_ode import _typecheck
from noprop_ode._training.generator import steps


KEY = jr.key(0)
XS, YS = blobs(6)
MODEL = mlp_model()


@pytest.mark.parametrize("weights", [[float("inf"), 1.0], [1e308, 1e308], [float("nan"), 1.0]])
def test_weights_of_an_ensemble_have_a_finite_sum(weights):
    with pytest.raises(ValueError, match="of a finite sum; got weights="):
        no.EnsembleDecoder([0.0, 0.5], weights)


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble])
def test_images_in_another_byte_order_are_the_same_images(dtype):
    xs = XS.astype(np.float32)
    np.testing.assert_array_equal(no.predict(MODEL, xs.astype(dtype), key=KEY), no.predict(MODEL, xs, key=KEY))
    losses = []
    for images in (xs, xs.astype(dtype)):
        state = no.TrainState.create(MODEL, adam(), key=KEY)
        ((_, metrics),) = no.train(state, [(images, YS)])
        losses.append(float(metrics.loss))
    assert losses[0] == losses[1]


def test_no_image_and_images_of_no_pixel_are_refused():
    encoded = no.encode(MODEL, XS)
    with pytest.raises(ValueError, match="at least one image; got batch_size=500 and 0 images"):
        no.predict(MODEL, encoded[2:2], key=KEY)
    with pytest.raises(ValueError, match="non-empty batch of images"):
        no.predict(MODEL, np.zeros((3, 0, 2, 1), np.uint8), key=KEY)


def test_an_error_names_what_was_returned_and_which_of_many_arguments_is_wrong():
    def checked(function) -> Any:
        return jaxtyped(function, typechecker=_typecheck.typecheck)

    def one(x: int, **how: Any) -> int:
        return "s"  # pyright: ignore

    def many(*xs: int, **more: int) -> int:
        return sum(xs)

    with pytest.raises(no.ArgumentError, match="what it returns: expected a whole number; got 's'"):
        checked(one)(1, a=2)
    with pytest.raises(no.ArgumentError, match="argument more"):
        checked(many)(1, 2, a="z")
    with pytest.raises(no.ArgumentError, match="argument xs"):
        checked(many)(1, "z", a=1)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "int4"])
def test_arrays_that_cannot_be_read_again_are_not_saved(dtype, tmp_path):
    weights = {"a": {"b": jnp.ones(4, jnp.float32).astype(dtype)}}
    with pytest.raises(TypeError, match=rf"Arrays of {dtype} cannot be read again.*\['a'\]\['b'\]"):
        no.save_arrays(tmp_path / "a.safetensors", weights)
    assert not list(tmp_path.iterdir())


def test_a_number_of_more_than_double_precision_is_kept_as_a_double(tmp_path):
    no.save_arrays(tmp_path / "a.safetensors", {"a": jnp.ones(1)}, {"v": np.longdouble(1.5)})
    assert no.read_header(tmp_path / "a.safetensors") == {"v": 1.5}


def test_a_generator_that_waits_holds_no_batch():
    """A data set of large images would take the memory of twice as many."""
    alive = []

    def batch(seed):
        xs, ys = blobs(6, seed=seed)
        xs = xs.astype(np.float32)
        alive.append(None)
        weakref.finalize(xs, alive.pop)
        return xs, ys

    state = no.TrainState.create(MODEL, adam(), key=KEY)
    held = [len(alive) for _ in steps(state, map(batch, range(6)), steps_per_call=2, own=False)]
    assert held == [0, 0, 0]
