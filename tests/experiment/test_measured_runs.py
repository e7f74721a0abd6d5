"""What `reproduce run` measures of a finished run."""

import json
import shutil
from pathlib import Path

import jax
import pytest

import noprop_ode as no
from noprop_ode.experiment import _evaluate, evaluate_protocols, load_model
from noprop_ode.experiment.report import CostPoint, measure_cost
from noprop_ode.experiment.reproduce import _measure


def test_evaluations_are_measured_on_held_out_images(saved, tmp_path, monkeypatch):
    folder, seen = shutil.copytree(saved, tmp_path / "run"), []

    def measured(model, images, ways, *, key):
        seen.append(images.name)
        return {"Euler": [CostPoint(1.0, 0.5, float("inf"), 0.1)]}

    monkeypatch.setattr(_measure, "measure_cost", measured)
    _measure.measure_evaluations(str(folder))
    found = json.loads((folder / "evaluations.json").read_text())
    assert seen == ["digits/validation"] and found["points"] == {"Euler": [[1.0, 0.5, None, 0.1]]}


def test_data_are_looked_for_where_the_command_line_says(saved, tmp_path, monkeypatch):
    """They may have been moved since the run was trained."""
    folder, load, asked = shutil.copytree(saved, tmp_path / "run"), _measure.load_data, []

    def noted(config):
        asked.append(config.data.dir)
        return load(config.replace(data={"dir": None}))

    monkeypatch.setattr(_measure, "load_data", noted)
    monkeypatch.setattr(_measure, "measure_cost", lambda *_, **__: {})
    _measure.measure_draws(str(folder), "1", str(tmp_path))
    _measure.measure_evaluations(str(folder), str(tmp_path))
    _measure.measure_views(str(folder), str(tmp_path))
    _measure.measure_evaluations(str(folder))
    assert asked == [*[Path(tmp_path)] * 3, None]


def test_draws_of_noise_are_kept_as_they_are_measured(saved, tmp_path, monkeypatch):
    """A process that is stopped after some of them goes on with the others, and arrives at the same."""
    folder, evaluate = shutil.copytree(saved, tmp_path / "run"), _measure.evaluate
    _measure.measure_draws(str(folder), "3")
    whole = json.loads((folder / "draws.json").read_text())
    model, config, _ = load_model(folder)
    test = _measure.load_data(config).test
    mean = no.evaluate(model, test.images, test.labels, key=jax.random.key(9))  # draws no noise
    once = whole["once"]
    assert once["accuracy"] == mean.accuracy and once["nfe"] == 1
    assert once["probability"] == pytest.approx(mean.probability, abs=1e-5)
    (folder / "draws.json").unlink()
    calls = []

    def stopped(*args, **how):
        if len(calls) == 3:  # the evaluation at the mean, and two draws
            raise KeyboardInterrupt
        calls.append(how["key"])
        return evaluate(*args, **how)

    monkeypatch.setattr(_measure, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt):
        _measure.measure_draws(str(folder), "3")
    assert len(json.loads((folder / "draws.json").read_text())["draws"]) == 2
    monkeypatch.setattr(_measure, "evaluate", evaluate)
    _measure.measure_draws(str(folder), "3")
    assert json.loads((folder / "draws.json").read_text()) == whole and len(whole["draws"]) == 3


@pytest.mark.parametrize(
    "error", [no.SolverError("too stiff\nby far"), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_way_that_fails_does_not_cost_the_others(saved, monkeypatch, capsys, tiny_images, error, first):
    """Unless it is the default, and only the first process says so."""
    model, test = load_model(saved)[0], tiny_images((8, 8, 1), ("a", "b"))
    default, evaluate = model.default_prediction, _evaluate.evaluate
    other = default._replace(start="noise")

    def fails(*args, prediction, **how):
        if prediction == other:
            raise error
        return evaluate(*args, prediction=prediction, **how)

    monkeypatch.setattr(_evaluate, "evaluate", fails)
    monkeypatch.setattr(_evaluate, "is_first", lambda: first)
    key = jax.random.key(0)
    assert list(evaluate_protocols(model, test, key=key, how={"other": other, "default": default})) == ["default"]
    points = measure_cost(model, test, {"other": [other, default], "default": [default]}, key=key)
    assert [len(own) for own in points.values()] == [1, 1]
    told = ["evaluating: other ...", f"warning: other: {str(error).splitlines()[0]}", "evaluating: default ..."]
    assert capsys.readouterr().err.splitlines() == (2 * told if first else [])
    with pytest.raises(type(error)):
        evaluate_protocols(model, test, key=key, how={"default": other})
