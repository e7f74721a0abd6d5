"""Configurations: what they say is what is built."""

import json
from pathlib import Path
from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from settings import SPEC, parse

import noprop_ode as no
from noprop_ode.experiment import (
    Config,
    ConfigError,
    Interval,
    build_model,
    build_optimiser,
    config_names,
    dump_yaml,
    find_config,
    load_config,
    override,
    parse_overrides,
    register,
)


pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_every_data_set_has_every_variant():
    expected = {
        f"{d}_{v}" for d in ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100") for v in ("ct", "dt", "fm")
    }
    expected |= {
        f"paper/{d}_{v}" for d in ("mnist", "cifar10", "cifar100") for v in ("ct", "dt", "fm", "backprop", "adjoint")
    }
    expected |= {f"{d}_fast_{v}" for d in ("mnist", "cifar10", "cifar100") for v in ("ct", "fm", "supervised")}
    expected |= {f"{d}_supervised" for d in ("mnist", "cifar10", "cifar100")} | {"mnist_fast_dt", "cifar10_fast_dt"}
    assert set(config_names()) == expected


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_loads_and_prints(name, tmp_path):
    config = Config.from_plain(find_config(name))
    assert config.description and config.name == name
    (tmp_path / "again.yaml").write_text(dump_yaml(config))
    assert load_config(tmp_path / "again.yaml") == config
    assert Config.from_plain(json.loads(json.dumps(config.to_plain()))) == config


def small(name: str) -> Config:
    """The same model at a size that traces fast."""
    config = Config.from_plain(find_config(name))
    variant = dict(config.to_plain()["model"]["variant"])
    variant |= {k: v for k, v in (("num_blocks", 2), ("steps", 2)) if k in variant}
    return config.replace(model={"variant": variant, "field": {"type": "mlp", "width": 8}})


# The others differ in their data alone.
FAST = ("mnist_ct", "mnist_dt", "mnist_fm")


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in config_names()])
def test_every_configuration_takes_a_step(name):
    config = small(name)
    model = build_model(config, SPEC)
    state = no.TrainState.create(model, build_optimiser(config, 10, model=model), key=jr.key(1))
    for state, metrics in no.train(state, [(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4))] * 2):
        assert np.isfinite(float(metrics.loss))
    assert int(state.step) == 2


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param("--field conv --embedding prototype", marks=pytest.mark.slow),
        pytest.param(
            "--variant dt --num_blocks 2 --field conv --embedding prototype --plan sampled-block",
            marks=pytest.mark.slow,
        ),
        "--variant dt --variant.num_blocks 2 --field mlp --model.schedule noise-grid --clip 1.0",
        "--variant dt --num_blocks 2 --field simple-cnn --shared_learning_rate 1e-4",
        "--field resnet --channels 16 --precision bfloat16",
        "--field mlp --embedding learned --dim 4 --readout posterior --shared_learning_rate 1e-4",
        "--field mlp --model.schedule learned --objective cross-entropy --weighting min-snr",
        "--field mlp --model.schedule sigmoid --weighting sigmoid --end_state sampled --end_state.steps 2",
        "--field mlp --model.schedule linear-grid --num_blocks 10 --weighting elbo --method lamb",
        "--model.schedule cosine-grid --num_blocks 10 --field mlp --method sgd --optimiser.schedule constant",
        "--variant fm --field mlp --embedding learned --sigma 0.1 --method adam --l2 1e-3",
        "--variant adjoint --variant.steps 2 --variant.adjoint backsolve --field mlp",
    ],
)
def test_components_go_together(flags):
    config = parse(flags)
    model = build_model(config, SPEC)
    optimiser = build_optimiser(config, 10, model=model)
    optimiser.init(eqx.filter(model, no.trainable_mask(model)))
    xs, ys = jnp.zeros((2, 8, 8, 1), jnp.uint8), jnp.arange(2)
    assert bool(jnp.isfinite(eqx.filter_jit(type(model).batch_loss)(model, xs, ys, key=jr.key(1)).total))


def test_flags_come_in_any_order():
    a = parse("--model.field.width 64 --epochs 5 --model.field mlp")
    b = parse("--model.field mlp --training.epochs=5 --model.field.width=64")
    assert a == b
    assert (a.model.field.type, a.model.field.settings["width"], a.training.epochs) == ("mlp", 64, 5)


def test_values_are_read_as_their_setting_wants_them():
    config = parse(
        "--learning_rate 1e-4 --tensorboard --protocols paper --average_decay none --data.dir /some/where "
        "--image_size 32,32"
    )
    assert config.optimiser.learning_rate == 1e-4 and config.output.tensorboard
    assert config.prediction.protocols == ("paper",) and config.training.average_decay is None
    assert config.data.dir == Path("/some/where") and config.data.image_size == (32, 32)


def test_data_are_a_name_or_a_loader_with_its_settings():
    @register("data", "drawn")
    def drawn(folder, validation, seed, *, count: Annotated[int, Interval("[1, 9]")] = 3):
        return None

    for flags, name in (
        ("--data.name mnist", "mnist"),
        ("--data.name drawn", {"type": "drawn", "count": 3}),
        ("--count 7 --data.name drawn", {"type": "drawn", "count": 7}),
        ("--data.name 2024", "2024"),
    ):
        config = override(find_config("digits_ct"), parse_overrides(flags.split()))
        assert config.to_plain()["data"]["name"] == name and Config.from_plain(config.to_plain()) == config
    for flags, message in (
        ("--data.name drawn --count 0", "data.name.count: expected a whole number in"),
        ("--data.name mnist --data.name.count 3", "--data.name.count: unknown setting"),
    ):
        with pytest.raises(ConfigError, match=message):
            override(find_config("digits_ct"), parse_overrides(flags.split()))


def test_one_default_for_one_name():
    """A configuration that says nothing builds what the constructors build, from the key of the seed."""
    scaling = {"mean": 0.3, "std": 0.4, "key": jr.key(7)}
    field = no.nn.ConvField((8, 8, 1), 10, 10, dropout=0.0, **scaling)
    own = build_model(parse("--dropout 0.0 --seed 7"), SPEC)
    assert eqx.tree_equal(own, no.NoPropCT(field, embedding=no.OneHot(10)))
    flow = build_model(parse("--dropout 0.0 --seed 7 --variant fm"), SPEC)
    assert eqx.tree_equal(flow, no.NoPropFM(field, embedding=no.OneHot(10)))

    def block(key):
        return no.nn.ConvBlock((8, 8, 1), 10, 20, **{**scaling, "key": key})

    embedding = no.LearnedEmbedding(10, 20, key=jr.fold_in(jr.key(7), 101))
    blocks = no.NoPropDT(no.Blocks(block, 2, key=jr.key(7)), embedding=embedding)
    flags = "--variant dt --variant.num_blocks 2 --embedding learned --seed 7"
    assert eqx.tree_equal(build_model(parse(flags), SPEC), blocks)


def test_the_names_of_solvers_and_the_flags_that_people_try():
    config = parse("--sampler heun --steps 3 --clip null --data-dir /data --out runs/x")
    assert (config.prediction.sampler.type, config.prediction.sampler.settings["steps"]) == ("heun", 3)
    assert config.optimiser.clip is None
    assert (config.data.dir, config.output.dir) == (Path("/data"), Path("runs/x"))
