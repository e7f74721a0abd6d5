"""Configurations: what they say is what is built, and what they must not say is refused with its path."""

import json
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import yaml
from helpers import modest
from hypothesis import given, strategies as st

import noprop_ode as no
from noprop_ode.experiment import (
    Config,
    ConfigError,
    DataSpec,
    build_model,
    build_optimiser,
    config_names,
    dump_yaml,
    find_config,
    load_config,
    main,
    override,
    parse_overrides,
    register,
)
from noprop_ode.experiment._yaml import parse_yaml, read_yaml


CONFIGS = Path(__file__).parents[2] / "experiments" / "configs"
SPEC = DataSpec((8, 8, 1), tuple("0123456789"), 0.3, 0.4)


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam raises a float to an integer count
        yield


def parse(arguments: str, **values) -> Config:
    return override(values, parse_overrides(arguments.split()))


def test_every_data_set_has_every_variant():
    expected = {
        f"{d}_{v}" for d in ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100") for v in ("ct", "dt", "fm")
    }
    expected |= {
        f"paper/{d}_{v}" for d in ("mnist", "cifar10", "cifar100") for v in ("ct", "dt", "fm", "backprop", "adjoint")
    }
    assert set(config_names(CONFIGS)) == expected


@pytest.mark.parametrize("name", config_names(CONFIGS))
def test_every_configuration_loads_and_prints(name, tmp_path):
    config = load_config(find_config(CONFIGS, name))
    assert config.description
    (tmp_path / "again.yaml").write_text(dump_yaml(config))
    assert load_config(tmp_path / "again.yaml") == config
    assert Config.from_plain(json.loads(json.dumps(config.to_plain()))) == config


def small(name: str) -> Config:
    """The same model at a size that traces fast."""
    config = load_config(find_config(CONFIGS, name))
    variant = dict(config.to_plain()["model"]["variant"])
    variant |= {k: v for k, v in (("num_blocks", 2), ("steps", 2)) if k in variant}
    return config.replace(model={"variant": variant, "field": {"type": "mlp", "width": 8}})


# The others differ in their data alone.
FAST = ("mnist_ct", "mnist_dt", "mnist_fm")


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in config_names(CONFIGS)]
)
def test_every_configuration_takes_a_step(name):
    config = small(name)
    model = build_model(config, SPEC, key=jr.key(0))
    state = no.TrainState.create(model, build_optimiser(config, 10), key=jr.key(1))
    for state, metrics in no.train(state, [(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4))] * 2):
        assert np.isfinite(float(metrics.loss))
    assert int(state.step) == 2


@pytest.mark.parametrize(
    "flags",
    [
        "--field conv --embedding prototype",
        "--variant dt --num_blocks 2 --field conv --embedding prototype --plan sampled-block",
        "--variant dt --variant.num_blocks 2 --field mlp --model.schedule noise-grid --clip 1.0",
        "--variant dt --num_blocks 2 --field simple-cnn --shared_learning_rate 1e-4",
        "--field resnet --channels 4 --precision bfloat16",
        "--field mlp --embedding learned --dim 4 --readout posterior --shared_learning_rate 1e-4",
        "--field mlp --model.schedule learned --objective squared-error --weighting min-snr",
        "--field mlp --model.schedule sigmoid --weighting sigmoid --end_state sampled --end_state.steps 2",
        "--field mlp --model.schedule linear-grid --num_blocks 10 --weighting elbo --method lamb",
        "--model.schedule cosine-grid --num_blocks 10 --field mlp --method sgd --optimiser.schedule constant",
        "--variant fm --field mlp --embedding learned --sigma 0.1 --method adam --l2 1e-3",
        "--variant adjoint --variant.steps 2 --variant.adjoint backsolve --field mlp",
    ],
)
def test_components_go_together(flags):
    config = parse(flags)
    model = build_model(config, SPEC, key=jr.key(0))
    optimiser = build_optimiser(config, 10)
    optimiser.init(eqx.filter(model, no.trainable_mask(model)))
    xs, ys = jnp.zeros((2, 8, 8, 1), jnp.uint8), jnp.arange(2)
    assert bool(jnp.isfinite(model.batch_loss(xs, ys, key=jr.key(1)).total))


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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--epoch 3", r"--epoch: unknown setting. Did you mean 'epochs'"),
        ("--steps 3 --sampler heun", "no sampler is named 'heun'"),
        ("--training.epochs many", "training.epochs: expected a whole number; got 'many'"),
        ("--training.epochs 2.5", "training.epochs: expected a whole number; got 2.5"),
        ("--training.epochs true", "training.epochs: expected a whole number"),
        ("--training.epochs 0", "epochs must be at least 1; got epochs=0"),
        ("--learning_rate nan", "learning_rate: expected a finite number"),
        ("--learning_rate -1", "learning_rate must be positive"),
        ("--model.field transformer", r"model.field: no field is named 'transformer'. Known are conv"),
        ("--model.field.depth 3", "--model.field.depth: unknown setting"),
        ("--type mlp", "could be any of"),
        ("--precision float16", "model.precision: expected one of float32, bfloat16; got 'float16'"),
        ("--validation 2", r"data: validation is a share"),
        ("epochs 3", "Expected a setting such as"),
        ("--image_size 3", "data.image_size: expected"),
        ("--seed -1", "seed must be at least 0"),
    ],
)
def test_bad_flags_are_refused_with_a_way_out(flags, message):
    with pytest.raises(ConfigError, match=message):
        parse(flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {feild: conv}", "model.feild: unknown setting. Did you mean 'field'"),
        (
            "model: {field: {type: conv, widht: 3}}",
            "model.field.widht: unknown setting of field 'conv'. Did you mean 'width'",
        ),
        ("model: {field: {width: 3}}", "model.field: expected a name, or a mapping with `type`"),
        ("trainig: {}", "trainig: unknown setting. Did you mean 'training'"),
        ("training: {epochs: '3'}", "training.epochs: expected a whole number; got '3'"),
        ("training: [1]", "training: expected a mapping"),
        ("training: {epochs: 3, epochs: 4}", "'epochs' is given twice"),
        ("- 1", "expected a mapping"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("? [1]\n: 2", "cannot be a name"),
        ("1: 2", "the name of a setting is text"),
        ("imports: [no_such_module]", "no_such_module cannot be imported"),
        ("imports: [missing.py]", "there is no file"),
        ("imports: 3", "imports: expected a list"),
        ("prediction: {protocols: paper}", "prediction.protocols: expected"),
    ],
)
def test_bad_files_are_refused_with_the_path(text, message, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "bad.yaml")


def test_settings_that_do_not_go_together_are_refused():
    for flags, message in (
        ("--model.schedule noise-grid", "give the grid its own num_blocks"),
        ("--log_snr_0 9 --log_snr_1 8", "model: A schedule needs ends"),
        ("--field resnet --depth 19", "model: A ResNet has a depth"),
        ("--model.schedule sigmoid --slope 1000", "model: The slope"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_model(parse(flags), SPEC, key=jr.key(0))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**6) | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "data",
    "model",
    "training",
    "output",
    "prediction",
    "optimiser",
    "field",
    "epochs",
    "type",
    "name",
    "dir",
    "clip",
)


@modest
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=6), VALUES, max_size=4), VALUES)
def test_any_plain_values_are_understood_or_refused(values, other):
    """No traceback but ours, and nothing that is accepted changes its meaning on the way back."""
    for tree in (values, {"model": values}, {"training": values}, {"model": {"field": other}}, other):
        try:
            config = Config.from_plain(tree)
        except ConfigError:
            continue
        assert Config.from_plain(config.to_plain()) == config


@modest
@given(st.data())
def test_damaged_files_are_understood_or_refused(data):
    text = (CONFIGS / "paper" / "mnist_ct.yaml").read_bytes()
    position = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255))
    try:
        config = Config.from_plain(
            parse_yaml((text[:position] + bytes([byte]) + text[position + 1 :]).decode("latin-1"), "x")
        )
    except ConfigError:
        return
    assert Config.from_plain(yaml.safe_load(dump_yaml(config))) == config


@modest
@given(st.lists(st.text(max_size=12) | st.sampled_from(["--epochs", "3", "--field", "mlp", "--a.b", "="]), max_size=5))
def test_any_arguments_are_understood_or_refused(arguments):
    try:
        override({}, parse_overrides(arguments))
    except ConfigError:
        pass


class TestRegister:
    def test_the_example_of_the_documentation(self, tmp_path):
        page = (CONFIGS.parents[1] / "docs" / "experiments.md").read_text()
        for name in ("tiny.py", "mine.yaml"):
            (block,) = (b for b in re.findall(r"```(?:python|yaml)\n(.*?)```", page, re.DOTALL) if f"# {name}" in b)
            (tmp_path / name).write_text(block)
        config = load_config(tmp_path / "mine.yaml")
        model = build_model(config, SPEC, key=jr.key(0))
        assert model.field.gain == 0.5
        assert bool(jnp.isfinite(model.loss(np.zeros((8, 8, 1), np.uint8), 1, key=jr.key(1)).total))
        assert Path(config.imports[0]).is_absolute()
        assert override(read_yaml(tmp_path / "mine.yaml"), [("gain", 3)]).model.field.settings["gain"] == 3.0

    def test_a_clash_or_a_setting_without_default_is_refused(self):
        with pytest.raises(ConfigError, match="registered already"):
            register("field", "conv")(lambda context: None)
        with pytest.raises(ConfigError, match="Did you mean 'field'"):
            register("feild", "x")

        def bad(context, *, width: int):
            return None

        with pytest.raises(ConfigError, match="'width' needs an annotation and a default"):
            register("field", "bad")(bad)


def test_the_command_line_lists_prints_and_round_trips(tmp_path, capsys):
    def call(*arguments: str) -> str:
        main(CONFIGS, arguments=arguments)
        return capsys.readouterr().out

    listed = call("--list-configs").splitlines()
    assert len(listed) == len(config_names(CONFIGS)) and all(len(line.split(maxsplit=1)) == 2 for line in listed)
    assert "resnet" in call("--list-components")
    printed = call("digits_dt", "--epochs", "7", "--print-config")
    (tmp_path / "mine.yaml").write_text(printed)
    assert call("--config", str(tmp_path / "mine.yaml"), "--print-config") == printed
    changed = call("--config", str(tmp_path / "mine.yaml"), "--output.dir", "12345", "--print-config")
    assert yaml.safe_load(changed)["output"]["dir"] == "12345"
    (tmp_path / "extra.py").write_text(
        "from noprop_ode.experiment import register\n"
        "@register('times', 'extra-times')\ndef extra(context, *, level: float = 0.5):\n    return None\n"
    )
    own = yaml.safe_load(
        call("digits_ct", "--imports", str(tmp_path / "extra.py"), "--times", "extra-times", "--print-config")
    )
    assert own["model"]["times"] == {"type": "extra-times", "level": 0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts_ct"], "'digits_ct'"),
        (["--epochs", "3", "digits_ct"], "name of a configuration first"),
        ([], "Give the name of a configuration first"),
        (["digits_ct", "--config", "x.yaml"], "not both"),
        (["--config", "none.yaml"], "cannot be read"),
        (["--resume", "none"], "holds no run"),
        (["--resume", "none", "--epochs", "3"], "takes no others"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(CONFIGS, arguments=arguments)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and message in err and err.count("\n") == 1
