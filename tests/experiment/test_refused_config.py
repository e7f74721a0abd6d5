"""Settings that are refused, with their path and a way out."""

import pytest
import yaml
from helpers import modest
from hypothesis import given, strategies as st
from settings import SPEC, parse

import noprop_ode as no
from noprop_ode.experiment import (
    Config,
    ConfigError,
    build_model,
    build_prediction,
    dump_yaml,
    find_config,
    load_config,
    override,
    parse_overrides,
    protocols,
)
from noprop_ode.experiment._build import warn_of_paper_steps
from noprop_ode.experiment._yaml import parse_yaml


pytestmark = pytest.mark.usefixtures("standard_promotion")


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
        ("a: *b", "line 1: anchors and aliases, here 'b', are not read"),
        ("a: 1\nb: &c [1]", "line 2: anchors and aliases, here 'c', are not read"),
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


def test_steps_that_change_nothing_are_said(capsys):
    for variant in ("ct", "dt --num_blocks 2", "supervised --times uniform"):
        model = build_model(parse(f"--field mlp --model.field.width 8 --variant {variant}"), SPEC)
        warn_of_paper_steps(parse("--paper_steps 7"), model)
        warn_of_paper_steps(parse(""), model)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" for ")[1].split()[0] for line in told] == ["NoPropDT", "Supervised"]


def test_a_sampler_that_is_asked_for_is_followed_whatever_the_default():
    small = "--variant dt --variant.num_blocks 2 --field mlp --model.field.width 8"
    config = parse(f"{small} --sampler ddim --steps 3")
    model = build_model(config, SPEC)
    assert isinstance(build_prediction(parse(small), model, SPEC).decoder, no.EnsembleDecoder)
    assert isinstance(build_prediction(config, model, SPEC).decoder, no.DenoiserDecoder)


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


def test_a_text_of_any_length_is_refused_at_once():
    with pytest.raises(ConfigError, match="at most 1000000 characters"):
        parse_yaml("#" * 1_000_001, "long")


def test_messages_are_short_whatever_they_show():
    for values in ({"training": ["x" * 10**6]}, {"x" * 10**6: 1}, {"training": {"epochs": 10**5000}}, [[[[]]] * 10**5]):
        with pytest.raises(ConfigError) as refused:
            Config.from_plain(values)
        assert len(str(refused.value)) < 500
