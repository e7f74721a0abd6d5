"""The command line: what it lists and prints, and what it does not take."""

import argparse
import subprocess
import sys

import pytest
import yaml
from settings import parse

from noprop_ode.experiment import ConfigError, _recipes, config_names, console, load_config, main
from noprop_ode.experiment.report import add_prediction_flags, prediction_changes


pytestmark = pytest.mark.usefixtures("standard_promotion")


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
    for text in ("08", "1e5", "12e4567", "1_0", ".inf", "null", "yes", "0x1f", "ü: #"):
        out = f"runs/{text}" if text == "null" else text  # which is how one says none
        changed = call("digits_ct", "--name", text, "--out", out, "--print-config")
        (tmp_path / "odd.yaml").write_text(changed)
        assert call("--config", str(tmp_path / "odd.yaml"), "--print-config") == changed
        config = load_config(tmp_path / "odd.yaml")
        assert (config.name, str(config.output.dir), config.data.name.type) == (text, out, "digits")
    (tmp_path / "extra.py").write_text(
        "from noprop_ode.experiment import register\n"
        "@register('times', 'extra-times')\ndef extra(context, *, level: float = 0.5):\n    return None\n"
    )
    own = yaml.safe_load(
        call("digits_ct", "--imports", str(tmp_path / "extra.py"), "--times", "extra-times", "--print-config")
    )
    assert own["model"]["times"] == {"type": "extra-times", "level": 0.5}
    assert "extra-times" in call("--list-components", "--imports", str(tmp_path / "extra.py"))
    (tmp_path / "extra.yaml").write_text("imports: [extra.py]")
    assert "extra-times" in call("--list-components", "--config", str(tmp_path / "extra.yaml"))


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


def test_the_console_command(capsys):
    console(["train", "digits_dt", "--epochs", "7", "--print-config"])
    assert yaml.safe_load(capsys.readouterr().out)["training"]["epochs"] == 7
    console([])
    assert "train" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        console(["trian"])
    assert stop.value.code == 2 and "Did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "plot", "export", "join"])
def test_every_command_says_how_it_is_called(name, capsys):
    with pytest.raises(SystemExit) as stop:
        console([name, "--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0 and f"usage: noprop-ode {name} " in shown and "%(" not in shown
    assert name == "train" or f"    noprop-ode {name} runs/" in shown, "the examples are of the command at hand"


def test_without_its_extra_the_command_names_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    _recipes._recipes.cache_clear()
    with pytest.raises(SystemExit) as stop:
        console(["train", "digits_ct"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and 'pip install "noprop_ode[experiments]"' in err and err.count("\n") == 1


def test_importing_the_harness_leaves_pyplot_alone():
    code = "import sys, noprop_ode.experiment; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=300).returncode == 0


def test_flags_change_how_a_model_predicts():
    parser = argparse.ArgumentParser()
    add_prediction_flags(parser)
    for flags, changes in (
        ("", {}),
        ("--mirror", {"mirror": True}),
        ("--no-mirror --draws 4", {"mirror": False, "draws": 4}),
        ("--sampler heun --steps 3", {"sampler": {"type": "heun", "steps": 3}}),
    ):
        assert prediction_changes(parser.parse_args(flags.split())) == changes
    assert parse("--mirror").prediction.mirror is True
    with pytest.raises(ConfigError, match="belong to a --sampler"):
        prediction_changes(parser.parse_args(["--steps", "3"]))
