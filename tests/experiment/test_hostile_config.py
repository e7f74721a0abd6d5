"""Ten thousand damaged and hostile configurations: each is understood, or refused by our own error."""

import random
import re

import equinox as eqx
import jax
import jax.random as jr
import pytest
import yaml

from noprop_ode.experiment import (
    Config,
    ConfigError,
    DataSpec,
    build_learning_rate,
    build_model,
    build_optimiser,
    build_prediction,
    find_config,
)
from noprop_ode.experiment._yaml import parse_yaml


SPEC = DataSpec((8, 8, 1), tuple("0123456789"), 0.3, 0.4)
SMALL = {"type": "mlp", "width": 8}
# Text that stands for a value; written into YAML as it is.
HOSTILE = (
    *("0", "-1", "1", "7", "2.0", "-5.0", "1e9", "1000000000", "2147483648", "4294967296", "18446744073709551616"),
    *("1" + "0" * 20, "9" * 5000, "1e400", "-.inf", ".nan", "1e-400", "0x10", "1_0", "12:30:45", "2024-99-99"),
    *(
        "null",
        "~",
        "true",
        "yes",
        "''",
        "' '",
        "'\\0'",
        '"\\0"',
        '"a\\0b.py"',
        '"\\ud800"',
        '"\\U00110000"',
        '"\\e[31m"',
    ),
    *("!!float ''", "!!map {}", "!!int x", "!!python/object/apply:os.getcwd []", "!!binary x", "!!set {a}", "! x"),
    *("&a [*a]", "*a", "<<: {a: 1}", "[]", "{}", "[[[]]]", "{type: }", "{type: 3}", "{type: [x]}", "{type: conv}"),
    *("resnet", "learned", "prototype", "noise-grid", "ddim", "dt", "fm", "heun", "paper", "backprop", "sampled"),
    *("[" * 300 + "]" * 300, "{a: " * 300 + "}" * 300, "x" * 100_000, "{? [a] : b}", "[a, b, c]", "{1: 2}", "é\u202e"),
    *("digits_ct", "../x.yaml", "/dev/zero", "CON", "." * 300, "|\n  a\n  b", "@x", "`x", "%x", "\t", "- x", "? x"),
)


def reached(text: str) -> str:
    """How far a configuration gets; anything but a `ConfigError` on the way fails the test."""
    how = "text"
    try:
        values = parse_yaml(text, "hostile")
        how = "settings"
        config = Config.from_plain(values)
        assert Config.from_plain(yaml.safe_load(yaml.safe_dump(config.to_plain()))) == config
        how = "model"
        with jax.numpy_dtype_promotion("standard"):
            model = eqx.filter_eval_shape(lambda: build_model(config, SPEC))
            how = "optimiser"
            build_optimiser(config, 100, model=model)
            build_learning_rate(config, 100, model=model)
            how = "prediction"
            build_prediction(config, model, SPEC)
        return "accepted"
    except ConfigError as error:
        assert len(str(error)) < 2000, f"{str(error)[:200]}..."
        return how


def mutated(rng: random.Random) -> str:
    name = rng.choice(
        ("digits_ct", "mnist_dt", "cifar10_fm", "paper/mnist_ct", "paper/mnist_dt", "paper/cifar10_backprop")
    )
    values = Config.from_plain(find_config(name)).replace(model={"field": SMALL}).to_plain()
    text = yaml.safe_dump(values, sort_keys=False)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        lines = text.split("\n")
        i = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind <= 2 and ":" in lines[i]:  # another value
            lines[i] = re.sub(r":.*", lambda _: ": " + rng.choice(HOSTILE), lines[i], count=1)
        elif kind == 3:  # a line gone, doubled, or somewhere else
            lines[i : i + 1] = rng.choice(([], [lines[i]] * 2))
        elif kind == 4:  # another name
            lines[i] = re.sub(r"\w+:", lambda _: rng.choice(HOSTILE).split("\n")[0] + ":", lines[i], count=1)
        else:  # raw damage
            line, j = lines[i] or " ", rng.randrange(len(lines[i]) or 1)
            lines[i] = line[:j] + chr(rng.randrange(256)) + line[j + rng.randrange(2) :]
        text = "\n".join(lines)
    return text


def count(cases: range) -> dict[str, int]:
    found: dict[str, int] = {}
    for case in cases:
        how = reached(mutated(random.Random(case)))
        found[how] = found.get(how, 0) + 1
    return found


def test_a_sample_of_mutated_configurations():
    found = count(range(300))
    assert found["text"] > 20 and found["settings"] > 60 and found["accepted"] > 10, found


@pytest.mark.slow
def test_ten_thousand_mutated_configurations():
    print(count(range(1000, 11_000)))


def test_every_hostile_value_in_every_setting():
    """One value a time into each setting of a whole configuration, as far as the settings are read."""

    def paths(values, path=()):
        for name, value in values.items():
            yield from paths(value, (*path, name)) if isinstance(value, dict) else ((*path, name),)

    def refused_or_kept(path, value):
        plain = values
        for name in path[:-1]:
            plain = plain[name]
        before, plain[path[-1]] = plain[path[-1]], value
        try:
            Config.from_plain(values)
        except ConfigError as error:
            assert len(str(error)) < 2000
        finally:
            plain[path[-1]] = before

    values = Config.from_plain(find_config("paper/mnist_dt")).to_plain()
    objects = (10**5000, -(10**5000), 2**64, 1e308, float("nan"), "\0", "\ud800", b"x", {1}, [[]], {"a": {}}, object())
    for path in list(paths(values)):
        for value in objects:
            refused_or_kept(path, value)


def test_seeds_are_different_keys():
    assert len({jr.key_data(jr.key(seed)).tobytes() for seed in (0, 1, 2**31, 2**32 - 1)}) == 4
