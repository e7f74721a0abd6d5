"""What keeps a step and a prediction fast, by counts and not by times."""

import inspect
from types import SimpleNamespace

import diffrax
import equinox as eqx
import jax
import jax.monitoring
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import adam, blobs, mlp_model

import noprop_ode as no
from noprop_ode._training.by_block import add_block, begin, finish, of_blocks


SHAPE, CLASSES = (8, 8, 1), 3
CONVOLUTION = "conv_general_dilated"


def equations(jaxpr, in_loop=False):
    """The primitives of a program, those of programs within it included, and whether a loop repeats each."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        yield name, in_loop
        for inner in inner_programs(list(equation.params.values())):
            yield from equations(inner, in_loop or name in ("while", "scan"))


def inner_programs(values):
    for value in values:
        if isinstance(value, list | tuple):
            yield from inner_programs(value)
        elif hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr


def program(function, *arguments):
    return list(equations(eqx.filter_make_jaxpr(inspect.unwrap(function))(*arguments)[0].jaxpr))


class Pixels(no.AbstractVectorField):
    """Convolves the image, which is the same at every time: where it is encoded, or wherever the field is called."""

    weight: jax.Array
    late: bool = eqx.field(static=True)

    def convolve(self, x):
        dimensions = ("NHWC", "HWIO", "NHWC")
        h = jax.lax.conv_general_dilated(x[None], self.weight, (1, 1), "SAME", dimension_numbers=dimensions)[0]
        return jnp.mean(h, axis=(0, 1))

    def encode(self, x, *, key=None):
        return x if self.late else self.convolve(x)

    def __call__(self, t, z, features):
        return z + (self.convolve(features) if self.late else features)


def pixels(late):
    field = Pixels(jr.normal(jr.key(0), (3, 3, 1, CLASSES), jnp.float32), late)
    return no.NoPropCT(field, embedding=no.OneHot(CLASSES))


SAMPLERS = {
    "euler": no.ODE(diffrax.Euler(), steps=50),
    "heun": no.ODE(diffrax.Heun(), steps=4),
    "tsit5, adaptive": no.ODE(
        diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-2, atol=1e-2), max_steps=64
    ),
    "sde": no.SDE(steps=4),
    "ancestral": no.Ancestral(5),
    "early exit": no.EarlyExit(no.Ancestral(5)),
}


def convolutions_of_prediction(model, sampler, draws=2):
    how = no.Prediction("noise", sampler, no.DenoiserDecoder(), draws)
    found = program(
        lambda model, x, key: no.predict_one(model, x, key=key, prediction=how)[0], model, jnp.ones(SHAPE), jr.key(0)
    )
    assert any(in_loop for _, in_loop in found), "the solver is a loop"
    return [in_loop for name, in_loop in found if name == CONVOLUTION]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_image_is_convolved_once_and_outside_of_the_solver(sampler):
    assert convolutions_of_prediction(pixels(late=False), SAMPLERS[sampler]) == [False]


def test_a_convolution_inside_of_the_solver_would_be_seen():
    assert any(convolutions_of_prediction(pixels(late=True), SAMPLERS["euler"]))


def whitened_cnn():
    images = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), np.uint8)
    return no.nn.WhitenedCNN(SHAPE, no.nn.whitening(images), widths=(4, 8), key=jr.key(0))


@pytest.mark.parametrize("backbone", ["paper's", "simple", "whitened"])
def test_the_networks_convolve_outside_of_the_solver(backbone):
    field = {
        "paper's": lambda: no.nn.ConvField(SHAPE, CLASSES, CLASSES, width=8, key=jr.key(0)),
        "simple": lambda: no.nn.BackboneField(
            no.nn.SimpleCNN(SHAPE, width=2, key=jr.key(0)), CLASSES, CLASSES, key=jr.key(1)
        ),
        "whitened": lambda: no.nn.BackboneField(whitened_cnn(), CLASSES, CLASSES, key=jr.key(1)),
    }[backbone]()
    model = no.NoPropCT(field, embedding=no.OneHot(CLASSES))
    assert not any(convolutions_of_prediction(model, SAMPLERS["euler"]))


def dt_model():
    def make(key):
        return no.nn.MLPField((2, 2, 1), CLASSES, CLASSES, width=8, time_size=4, key=key)

    return no.NoPropDT(no.Blocks(make, 2, key=jr.key(0)), embedding=no.OneHot(CLASSES))


MODELS = {
    "ct": mlp_model,
    "ct, learned schedule": lambda: mlp_model(schedule=no.LearnedSchedule(key=jr.key(0))),
    "fm": lambda: no.NoPropFM(mlp_model().field, embedding=no.OneHot(CLASSES)),
    "dt": dt_model,
    "supervised": lambda: no.Supervised(mlp_model().field, embedding=no.OneHot(CLASSES)),
}


def callbacks(found):
    return [name for name, _ in found if "callback" in name or name in ("infeed", "outfeed")]


@pytest.mark.parametrize("model", MODELS)
def test_a_training_step_calls_nothing_on_the_host(model):
    state = no.TrainState.create(MODELS[model](), adam(), key=jr.key(1), average_decay=0.9)
    data = tuple(map(jnp.asarray, blobs(6)))
    found = program(no.train_step, state, *data)
    if isinstance(state.model, no.NoPropDT):  # the step of `train`, in calls of three functions
        (blocks, rest), gathered = of_blocks(state), begin((*data, None), state)
        found += program(begin, (*data, None), state)
        found += program(add_block, (*data, None, rest), blocks, gathered)
        found += program(finish, None, rest, gathered)
    assert len(found) > 50
    assert callbacks(found) == []


def test_a_call_on_the_host_would_be_seen():
    watched = no.TrainState.create(mlp_model(watch=True), adam(), key=jr.key(1))
    assert callbacks(program(no.train_step, watched, *map(jnp.asarray, blobs(6)))) != []


@pytest.mark.parametrize("states", [1, 4])
def test_a_step_encodes_as_much_as_a_supervised_one(states):
    """However many states an image has: as many convolutions, forwards and backwards."""

    def count(model):
        state = no.TrainState.create(model, adam(), key=jr.key(1))
        found = program(no.train_step, state, *map(jnp.asarray, blobs(6, image_shape=SHAPE)))
        return sum(name == CONVOLUTION for name, _ in found)

    field, labels = pixels(late=False).field, no.OneHot(CLASSES)
    supervised = count(no.Supervised(field, embedding=labels))
    assert supervised > 0
    assert count(no.NoPropCT(field, embedding=labels, states_per_image=states)) == supervised
    assert count(no.NoPropFM(field, embedding=labels, states_per_image=states)) == supervised


@pytest.mark.parametrize("model", ["ct", "dt"])
def test_steps_after_the_first_compile_nothing(model, caplog):
    """Not the step alone: no little program on the way from batch to batch either."""
    batches = (blobs(6, seed=i) for i in range(4))  # NumPy, as data sets are
    steps = no.train(no.TrainState.create(MODELS[model](), adam(), key=jr.key(1)), batches)
    compiled = []
    for _ in range(4):
        with jax.log_compiles(), caplog.at_level("WARNING"):
            caplog.clear()
            next(steps)
        compiled.append(sum("Compiling" in record.getMessage() for record in caplog.records))
    assert compiled[0] > 0
    assert compiled[1:] == [0, 0, 0]


@pytest.fixture
def compiled():
    """The number of programs compiled since."""
    names = []

    def note(event, _, **about):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def test_a_run_compiles_few_programs(compiled, tmp_path):
    # Each takes as long as a hundred steps of a small network: no program for each shape of a weight, nor for each
    # operation on the host.
    xs, ys = blobs()
    splits = SimpleNamespace(train=SimpleNamespace(images=xs, labels=ys), validation=None)
    model = mlp_model()
    jax.clear_caches()
    del compiled[:]
    rate = no.warmup_cosine(1e-2, 4)
    no.fit(
        model,
        splits,
        optimiser=adam(rate),
        learning_rate=rate,
        epochs=2,
        batch_size=30,
        folder=tmp_path,
        progress=False,
    )
    in_fit = len(compiled)
    no.evaluate(model, xs, ys, key=jr.key(0))
    assert in_fit <= 24 and len(compiled) - in_fit <= 8, compiled
