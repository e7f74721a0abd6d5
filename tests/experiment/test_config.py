"""Configurations: what they say is what is built, and what they must not say is refused with its path."""

import itertools
import json
import re
import subprocess
import sys
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
    build_prediction,
    config_names,
    console,
    dump_yaml,
    find_config,
    load_config,
    main,
    override,
    parse_overrides,
    protocols,
    register,
)
from noprop_ode.experiment._data import describe
from noprop_ode.experiment._recipes import read_yaml
from noprop_ode.experiment._yaml import parse_yaml


ROOT = Path(__file__).parents[2]
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
    expected |= {f"{d}_fast_ct" for d in ("cifar10", "cifar100")}
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
        "--field conv --embedding prototype",
        "--variant dt --num_blocks 2 --field conv --embedding prototype --plan sampled-block",
        "--variant dt --variant.num_blocks 2 --field mlp --model.schedule noise-grid --clip 1.0",
        "--variant dt --num_blocks 2 --field simple-cnn --shared_learning_rate 1e-4",
        "--field resnet --channels 4 --precision bfloat16",
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
        ("--steps 3 --sampler huen", "no sampler is named 'huen'. Did you mean 'heun'"),
        ("--training.epochs many", r"training.epochs: expected a whole number in \[1, 1000000\]; got 'many'"),
        ("--training.epochs 2.5", "training.epochs: expected a whole number in .* got 2.5"),
        ("--training.epochs true", "training.epochs: expected a whole number"),
        ("--training.epochs 0", r"training.epochs: expected .* in \[1, 1000000\]; got 0"),
        ("--learning_rate nan", "learning_rate: expected a finite number"),
        ("--learning_rate -1", r"optimiser.learning_rate: expected a finite number in \(0, "),
        ("--model.field transformer", r"model.field: no field is named 'transformer'. Known are conv"),
        ("--model.field.depth 3", "--model.field.depth: unknown setting"),
        ("--type mlp", "could be any of"),
        ("--precision float16", "model.precision: expected one of float32, bfloat16; got 'float16'"),
        ("--validation 2", r"data.validation: expected a finite number in \(0, 1\)"),
        ("epochs 3", "Expected a setting such as"),
        ("--image_size 3", "data.image_size: expected"),
        ("--seed -1", r"training.seed: expected a whole number in \[0, 4294967295\]; got -1"),
        ("--seed 4294967296", "training.seed"),
        (f"--epochs {10**20}", "training.epochs"),
        (f"--epochs 1{'0' * 5000}", "training.epochs: expected .* got '100"),
        ("--method.b1 2.0", r"optimiser.method.b1: expected a finite number in \[0, 1\)"),
        ("--method sgd --momentum -5", "optimiser.method.momentum"),
        ("--warmup 2.0", "optimiser.schedule.warmup"),
        ("--sampler adaptive --tolerance -1", "prediction.sampler.tolerance"),
        ("--out a\0b", "output.dir: expected a path"),
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
        ("training: {epochs: '3'}", "training.epochs: expected a whole number .* got '3'"),
        ("training: [1]", "training: expected a mapping"),
        ("training: {epochs: 3, epochs: 4}", "'epochs' is given twice"),
        ("- 1", "expected a mapping"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "tags such as"),
        ("training: {epochs: !!float ''}", "line 1: tags such as"),
        ("!!map {}", "tags such as"),
        ("a: *b", "stands for nothing"),
        ("a: &a [*a]", "stands for nothing"),
        ("a: 1\n---\nb: 2", "single document|more than one document"),
        ("[" * 50 + "]" * 50, "nested more than 20 deep"),
        ("name: 7", "name: expected text; got 7"),
        ('name: "a\\0b"', "name: expected text"),
        ('output: {dir: "a\\0b"}', "output.dir: expected a path"),
        ('name: "\\ud800"', "name: expected text|not valid YAML"),
        ("model: {field: {type: mlp, width: 10000000000}}", "model.field.width: expected a whole number"),
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
        load_config(tmp_path / "bad.yaml", trust_imports=True)


def test_settings_that_do_not_go_together_are_refused():
    for flags, message in (
        ("--model.schedule noise-grid", "give the grid its own num_blocks"),
        ("--log_snr_0 9 --log_snr_1 8", "model.schedule: A schedule needs ends"),
        ("--field resnet --depth 19", "model.field: A ResNet has a depth"),
        ("--model.schedule sigmoid --slope 1000", "model.schedule: The slope"),
        ("--variant dt --model.times power", "model.times: this variant has none"),
        ("--variant dt --time_size 32", "model.field: time_size: one block"),
        ("--variant dt --num_blocks 100000", "model.variant.num_blocks: expected"),
        ("--field mlp --model.field.width 1000000000", "model"),
        ("--field mlp --model.field.width 100000", "at most 1000000000 numbers"),
        ("--field mlp --model.field.width 0", "model.field"),
        ("--embedding learned --dim 2000000000", "model"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_model(parse(flags), SPEC)


def test_predictions_that_do_not_suit_the_model_are_refused_before_training():
    flags = "--field mlp --model.field.width 8 "
    model, flow = (build_model(parse(flags + f"--variant {v}"), SPEC) for v in ("ct", "fm"))
    for flags, of, message in (
        ("--sampler sde", flow, "prediction: "),
        ("--draws 4", model, "prediction: From the mean, 4 draws"),
        ("--protocols papr", model, "prediction.protocols: 'papr' is no way .* Did you mean 'paper'"),
        ("--protocol papr", model, "prediction.protocol: 'papr'"),
        ("--decoder posterior", flow, "prediction: "),
    ):
        with pytest.raises(ConfigError, match=message):
            protocols(parse(flags), of, SPEC)
    ways = protocols(parse("--protocol paper --paper_steps 7 --protocols paper"), model, SPEC)
    assert list(ways) == ["default", "paper"] and ways["default"] == ways["paper"]
    assert ways["paper"].sampler.steps == 7 and ways["paper"].start == "noise"
    everything, nothing = (protocols(parse(f"--protocols {word}"), model, SPEC) for word in ("all", "none"))
    assert set(everything) == {"default", *model.protocols} and list(nothing) == ["default"]
    assert build_prediction(parse("--sampler heun --steps 3 --start noise --draws 2"), model, SPEC).draws == 2


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
    text = dump_yaml(Config.from_plain(find_config("paper/mnist_ct"))).encode()
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
        page = (ROOT / "docs" / "experiments.md").read_text()
        for name in ("tiny.py", "mine.yaml"):
            (block,) = (b for b in re.findall(r"```(?:python|yaml)\n(.*?)```", page, re.DOTALL) if f"# {name}" in b)
            (tmp_path / name).write_text(block)
        with pytest.raises(ConfigError, match=r"mine.yaml imports '.*tiny.py', and that runs code.*--trust-imports"):
            load_config(tmp_path / "mine.yaml")
        config = load_config(tmp_path / "mine.yaml", trust_imports=True)
        assert Path(config.imports[0]).is_absolute()
        assert override(read_yaml(tmp_path / "mine.yaml"), [("width", 3)]).model.field.settings["width"] == 3
        # It learns, too.
        splits = no.data.load("digits")
        model = build_model(config, describe(splits.train))
        assert model.field.image.out_features == 128
        state = no.TrainState.create(model, build_optimiser(config, 100, model=model), key=jr.key(1))
        epochs = (no.data.batches(splits.train, 128, seed=0, epoch=epoch) for epoch in range(12))
        for state, metrics in no.train(state, itertools.chain.from_iterable(epochs)):
            pass
        found = no.evaluate(state.model, splits.validation.images, splits.validation.labels, key=jr.key(2))
        assert found.accuracy > 0.8

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
        main(arguments=arguments)
        return capsys.readouterr().out

    listed = call("--list-configs").splitlines()
    assert len(listed) == len(config_names()) and all(len(line.split(maxsplit=1)) == 2 for line in listed)
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
    assert "extra-times" in call("--list-components", "--imports", str(tmp_path / "extra.py"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts_ct"], "'digits_ct'"),
        (["--epochs", "3", "digits_ct"], "name of a configuration first"),
        ([], "Give the name of a configuration first"),
        (["digits_ct", "--config", "x.yaml"], "not both"),
        (["--config", "none.yaml"], "cannot be read"),
        (["--resume", "none"], "holds no run"),
        (["--resume", "none", "--seed", "3"], "takes no others but --epochs"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments=arguments)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and message in err and err.count("\n") == 1


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


class TestBase:
    def test_a_file_changes_another_or_a_recipe(self, tmp_path):
        (tmp_path / "a.yaml").write_text(
            "base: mnist_ct\ntraining: {epochs: 9}\nmodel: {field: {width: 64}, times: uniform}"
        )
        (tmp_path / "b.yaml").write_text("base: a.yaml\nmodel: {field: {type: mlp}}\ntraining: {seed: 3}")
        a, b = (load_config(tmp_path / name) for name in ("a.yaml", "b.yaml"))
        assert (a.name, a.data.name, a.training.epochs, a.model.times.type) == ("a", "mnist", 9, "uniform")
        assert a.model.field.settings["width"] == 64 and a.model.field.settings["dropout"] == 0.0
        assert (b.training.epochs, b.training.seed, b.model.field.type) == (9, 3, "mlp")
        assert b.model.field.settings["width"] == 256, "another type starts from its own defaults"

    @pytest.mark.parametrize(
        ("base", "message"),
        [
            ("me.yaml", "no circle"),
            ("../above.yaml", "a file in the same folder"),
            ("/etc/passwd.yaml", "a file in the same folder"),
            ("link.yaml", "a file in the same folder"),
            ("'a\\0.yaml'", "cannot be read|same folder"),
            ("none.yaml", "cannot be read"),
            ("mnst_ct", "Did you mean .*'mnist_ct'"),
            ("[a]", "expected a file or the name"),
            ("deep0.yaml", "at most 5 files"),
        ],
    )
    def test_what_is_elsewhere_or_a_circle_is_refused(self, base, message, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        (tmp_path / "above.yaml").write_text("training: {epochs: 2}")
        (folder / "link.yaml").symlink_to(tmp_path / "above.yaml")
        for i in range(8):
            (folder / f"deep{i}.yaml").write_text(f"base: deep{i + 1}.yaml")
        (folder / "me.yaml").write_text(f"base: {base}")
        with pytest.raises(ConfigError, match=message):
            load_config(folder / "me.yaml")


def test_an_alias_bomb_is_refused_at_once_and_aliases_work(tmp_path):
    levels = "\n".join(f"a{i}: &a{i} [{', '.join(f'*a{i - 1}' for _ in range(9))}]" for i in range(1, 12))
    with pytest.raises(ConfigError, match="more than 10000 values") as refused:
        parse_yaml("a0: &a0 [x]\n" + levels, "bomb")
    assert len(str(refused.value)) < 300
    assert parse_yaml("a: &x {b: 1}\nc: *x", "fine") == {"a": {"b": 1}, "c": {"b": 1}}
    with pytest.raises(ConfigError, match="at most 1000000 characters"):
        parse_yaml("#" * 1_000_001, "long")


def test_messages_are_short_whatever_they_show():
    for values in ({"training": ["x" * 10**6]}, {"x" * 10**6: 1}, {"training": {"epochs": 10**5000}}, [[[[]]] * 10**5]):
        with pytest.raises(ConfigError) as refused:
            Config.from_plain(values)
        assert len(str(refused.value)) < 500


class TestTheModelAnswers:
    """What a name is registered under means nothing."""

    def test_a_variant_of_a_users_own_that_returns_flow_matching(self):
        @register("variant", "own-flow")
        def own_flow(context, *, sigma: float = 0.0):
            return no.NoPropFM(context.build_field(), embedding=context.embedding, sigma=sigma)

        config = parse("--variant own-flow --field mlp --model.field.width 8")
        model = build_model(config, SPEC)
        assert list(protocols(config, model, SPEC)) == ["default", *model.protocols]
        assert "noise euler-10" in model.protocols

    @pytest.mark.parametrize("shared", ["", " --shared_learning_rate 1e-4"])
    def test_a_variant_of_a_users_own_that_returns_blocks(self, shared):
        @register("variant", "own-blocks")
        def own_blocks(blocks, embedding):
            return no.NoPropDT(blocks, embedding=embedding)

        config = parse("--variant own-blocks --field mlp --model.field.width 8 --clip 1e-3" + shared)
        model = build_model(config, SPEC)
        assert model.field.num_blocks == 10
        optimiser = build_optimiser(config, 10, model=model)
        weights = eqx.filter(model, no.trainable_mask(model))
        grads = jax.tree.map(jnp.ones_like, weights)
        # The gradient of one block a thousand times as large: under a common norm the others would hardly move.
        loud = eqx.tree_at(lambda m: m.field, grads, jax.tree.map(lambda g: g.at[0].multiply(1e3), grads.field))

        def other_blocks(grads):
            updates, _ = optimiser.update(grads, optimiser.init(weights), weights)
            return jax.tree.map(lambda u: u[1:], updates.field)

        assert eqx.tree_equal(other_blocks(grads), other_blocks(loud))

    def test_a_class_is_its_own_schema(self):
        @register("field", "own-class")
        class Own(no.AbstractVectorField):
            linear: no.nn.Linear

            def __init__(self, image_shape, num_classes, label_dim, *, gain: float = 1.0, key):
                self.linear = no.nn.Linear(label_dim, num_classes, key=key)

            def encode(self, x, *, key=None):
                return jnp.asarray(x)

            def __call__(self, t, z, features):
                return self.linear(z)

        config = parse("--field own-class --gain 2")
        assert config.model.field.settings == {"gain": 2.0}
        assert isinstance(build_model(config, SPEC).field, Own)

    def test_no_registered_name_is_compared_in_code(self):
        for file in (ROOT / "noprop_ode").rglob("*.py"):
            assert not re.search(r"\.type (==|!=|in) |match .*\.type\b", file.read_text()), file


def test_imports_of_a_stranger_do_not_run(tmp_path):
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    (tmp_path / "config.yaml").write_text("imports: [evil.py]")
    for load in (
        lambda: load_config(tmp_path / "config.yaml"),
        lambda: Config.from_plain({"imports": ["antigravity"]}),
    ):
        with pytest.raises(ConfigError, match="runs code"):
            load()
    assert not (tmp_path / "ran").exists()
    (tmp_path / "metadata").mkdir()
    config = load_config(tmp_path / "config.yaml", trust_imports=True)
    assert (tmp_path / "ran").exists()
    assert config.replace(training={"epochs": 2}).imports == config.imports, "imported once, it needs no more trust"


def test_the_console_command(capsys):
    console(["train", "digits_dt", "--epochs", "7", "--print-config"])
    assert yaml.safe_load(capsys.readouterr().out)["training"]["epochs"] == 7
    console([])
    assert "train" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        console(["trian"])
    assert stop.value.code == 2 and "Did you mean 'train'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main("digits_ct", ["--help"], prog="digits_ct.py")
    assert "scikit-learn's 8x8 digits" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "plot", "export", "join"])
def test_every_command_says_how_it_is_called(name, capsys):
    with pytest.raises(SystemExit) as stop:
        console([name, "--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0 and f"usage: noprop-ode {name} " in shown and "%(" not in shown
    assert name == "train" or f"    noprop-ode {name} runs/" in shown, "the examples are of the command at hand"


def test_importing_the_harness_leaves_pyplot_alone():
    code = "import sys, noprop_ode.experiment; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
