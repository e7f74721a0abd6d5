"""The results page says what the results files say."""

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import _accuracy_goals as goals, study
from benchmarks._results import PARTS, made, write_results
from noprop_ode.experiment import find_config, override
from noprop_ode.experiment._overrides import parse_overrides
from noprop_ode.experiment._yaml import dump_yaml
from noprop_ode.experiment.command import _reproduce
from noprop_ode.experiment.reproduce import page


ROOT = Path(__file__).parents[2]


def test_the_tables_are_made_from_the_files():
    text = (ROOT / "docs" / "results.md").read_text()
    assert made(text) == text
    for part in PARTS:
        assert part.page(text) == text


def test_the_tables_of_runs_are_made_from_their_records():
    records = [json.loads(line) for line in (ROOT / "benchmarks/results/table.jsonl").read_text().splitlines()]
    text = (ROOT / "docs" / "results.md").read_text()
    assert page(text, records, figures="_static/results") == text


def test_one_command_writes_the_page(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "results.md").read_text()
    old = re.sub(r"(<!-- (?:table: |benchmarks/)[^\n]*-->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL)
    assert len(old) < len(text)
    target, records = tmp_path / "docs" / "results.md", tmp_path / "table.jsonl"
    target.parent.mkdir()
    target.write_text(old)
    shutil.copy(ROOT / "benchmarks/results/table.jsonl", records)
    monkeypatch.setattr(_reproduce, "figures", lambda records: {})  # their bytes depend on the version of Matplotlib
    write_results(target, records, tmp_path / "docs" / "_static" / "results")
    assert target.read_text() == text
    assert {line.split()[2] for line in old.splitlines() if line.startswith("<!-- table: ")} > {"overview", "study"}


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="one place for the table goals"):
        made("# Results")


def test_a_run_of_the_study_by_other_settings_is_not_published(tmp_path):
    """The page tells of the flags that a row has today."""
    out = tmp_path / "one-state-an-image-seed3"
    flags = [*study.COMMON.split(), *study.ROWS["one state an image"].split(), "--seed", "3"]
    config = override(find_config(flags[0]), parse_overrides(flags[1:]))
    out.mkdir()
    (out / "config.yaml").write_text(dump_yaml(config))
    epochs = [{"kind": "validation", "epoch": n, "accuracy": n / 10, "nll": 1.0} for n in (1, 2, 3)]
    (out / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    (found,) = study.found(tmp_path, "one state an image")
    assert found["seed"] == 3 and found["accuracies"] == [0.1, 0.2, 0.3]
    shutil.move(out, tmp_path / "uniform-times-seed3")
    with pytest.raises(SystemExit, match=r"by other settings than 'uniform times' has today: model\.variant, model"):
        study.found(tmp_path, "uniform times")


def test_every_row_of_the_study_can_be_trained_and_is_another():
    """Flags of a row stand after those of all, and change them."""
    name, *common = study.COMMON.split()
    rows = [override(find_config(name), parse_overrides([*common, *row.split()])) for row in study.ROWS.values()]
    settings = {str(config.to_plain()) for config in rows}
    assert len(settings) == len(rows)
    assert {config.training.epochs for config in rows} == {study.EPOCHS}


def test_a_goal_shows_the_cheapest_prediction_that_gets_there_in_time():

    def run(accuracy, minutes, mirrored=None, **settings):
        found = {"configuration": "mnist_fast_ct", "protocol": "default", "epochs": 8, "seconds": 60 * minutes}
        found |= {"ways": {"default": {"accuracy": accuracy}}, "settings": settings, "draws": []}
        return found | ({} if mirrored is None else {"mirrored": {"test": {"accuracy": mirrored}}})

    def told(*runs):
        goal = goals.Goal("it", "mnist_fast_ct", 99.5, 60)
        found = goals._best(goal, runs)
        return None if found is None else found[:2]

    assert told() is None and told(run(0.999, 61)) is None, "not in time"
    assert told(run(0.996, 50), run(0.994, 10, mirrored=0.999)) == (99.6, "the default")
    assert told(run(0.994, 50, mirrored=0.996)) == (99.6, "mirrored")
    assert told(run(0.991, 50, mirrored=0.993)) == (99.3, "mirrored"), "missed"
