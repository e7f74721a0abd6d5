"""The page of the paper's table: what it says of runs, and its figures."""

import json
import shutil

import pytest
from tables import PAGE, record_of, summary

from noprop_ode.experiment import ConfigError
from noprop_ode.experiment.reproduce import Job, Row, _measure, _queue, figures, page, record


EVALUATIONS = "<!-- table: evaluations -->\n<!-- end -->\n"
POINTS = {
    "Euler": [[1, 0.5, 0.9, 0.1], [2, 0.899, 0.8, 0.1], [1000, 0.9, None, 0.1]],
    "Heun": [[2, 0.898, 0.7, 0.1], [4, 0.8985, 0.7, 0.1]],
    "the default": [[1, 0.91, 0.3, 0.02]],
}


def test_the_page_says_what_was_run_and_what_was_not(tmp_path):
    for seed, accuracy in enumerate((0.95, 0.97)):
        (tmp_path / f"run{seed}").mkdir()
        (tmp_path / f"run{seed}" / "summary.json").write_text(summary(seed, accuracy))
    draws = [{"accuracy": a, "nll": 0.1, "nfe": 1000.0} for a in (0.90, 0.92)]
    (tmp_path / "run0" / "draws.json").write_text(json.dumps({"epochs": 3, "draws": draws}))
    begins = {"run": "run0", "part": "training", "begins": "anew"}
    ends = {"run": "run0", "part": "training", "exit": 143, "seconds": 60, "cpu_seconds": 60.0, "gib": 1.0}
    parts = [begins, ends, {**begins, "begins": "on"}, {**ends, "exit": 0, "cpu_seconds": 180.0, "gib": 2.0}]
    parts += [{**begins, "part": "draws"}, {**ends, "part": "draws"}]
    (tmp_path / "costs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in parts))
    found = page(PAGE, [record(tmp_path / "run0"), record(tmp_path / "run1")])
    # These settings predict with the paper's protocol: 0.91, of two draws, and 0.97, of one.
    overview = "| MNIST | CT, one-hot, the paper's settings | 3 | 2 |  |  |  | 94.00 ± 3.00 | 97.84 |  | 2 (4) | 2.0 |"
    assert overview in found
    assert "| CT, one-hot | 97.84; 94.00 ± 3.00 (3 epochs, 2 seeds) | 73.35; not run | 33.66; not run |" in found
    assert "| adjoint, one-hot | 98.62; not run |" in found and "old" not in found and "Text." in found
    assert page(found, [record(tmp_path / "run0"), record(tmp_path / "run1")]) == found


def test_trajectories_stand_beside_the_probabilities_they_should_follow(tmp_path):
    place = "<!-- table: sampled -->\n<!-- end -->\n"
    found = record_of(tmp_path, json.loads(summary(0, 0.95)))
    assert page(place, [found]).count("\n|") == 2, "it was not measured"
    once = {"accuracy": 0.95, "nll": 0.2, "nfe": 1.0, "probability": 0.9}
    draws = [{"accuracy": a, "nll": 0.1, "nfe": 1000.0} for a in (0.90, 0.92)]
    (tmp_path / "draws.json").write_text(json.dumps({"epochs": 3, "draws": draws, "once": once}))
    found = record_of(tmp_path, json.loads(summary(0, 0.95)))
    row = "| MNIST | CT, one-hot, the paper's settings | 3 | 95.00 | 90.00 | 91.00 ± 1.00 (1 seed, 2 draws) |"
    assert row in page(place, [found])
    dt = {**found, "variant": "dt", "configuration": "paper/mnist_dt"}
    assert "the first of its blocks | 3 | 95.00" in page(place, [dt])
    other = {name: value for name, value in found.items() if name != "once"}
    assert page(place, [found, {**other, "seed": 1}]).count("\n|") == 2, "not of every seed"


def test_costs_are_of_all_sessions_of_the_run_that_is_there(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(summary(0, 0.9))

    def costs(*lines: dict | str) -> tuple:
        (tmp_path / "costs.jsonl").write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines))
        found = record(tmp_path / "run")
        return found.get("cpu_seconds"), found.get("gib")

    anew, on = ({"run": "run", "part": "training", "begins": how} for how in ("anew", "on"))
    end = {"run": "run", "part": "training", "exit": 0, "seconds": 60, "cpu_seconds": 60.0, "gib": 1.0}
    assert costs() == (None, None)
    assert costs(anew, end, on, end, {**end, "run": "another"}) == (120.0, 1.0)
    assert costs(anew, on, end) == (None, 1.0)  # one was killed, and what it took is not known
    assert costs(anew, end, on, anew, {**end, "gib": 0.5}, '{"run": "ru') == (60.0, 0.5)  # it was begun again
    assert costs(on, end) == (None, 1.0)  # it was begun elsewhere
    values = json.loads(summary(0, 0.9))
    (tmp_path / "run" / "summary.json").write_text(json.dumps({**values, "wall_seconds": 100.0}))
    assert costs(anew, end) == (None, 1.0)  # a session was run by hand
    assert costs(anew, end, on, end) == (120.0, 1.0)


def test_what_was_measured_of_a_shorter_run_is_not_of_the_extended_one(tmp_path):
    for name, key in (("draws.json", "draws"), ("evaluations.json", "points")):
        (tmp_path / name).write_text(json.dumps({"epochs": 3, key: []}))
    assert {"draws", "evaluations"} <= set(record_of(tmp_path, json.loads(summary(0, 0.9, epochs=3))))
    assert not {"draws", "evaluations"} & set(record_of(tmp_path, json.loads(summary(0, 0.9, epochs=4))))


def test_a_run_is_measured_with_mirror_images_where_it_was_trained_on_them(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "run")
    _measure.measure_views(str(folder))
    found = json.loads((folder / "views.json").read_text())
    assert {
        name: found[name][split]["nfe"] for name in ("mirrored", "shifted") for split in ("validation", "test")
    } == {
        "mirrored": 2,
        "shifted": 10,
    }
    run = {"mirrored": {"validation": {}, "test": {"accuracy": 0.95}}}
    whole = record_of(tmp_path, json.loads(summary(0, 0.9, name="cifar10_fast_ct", epochs=16)))
    assert "| 16 | 1 | 90.00 (1) | 95.00 |  | 89.00 |" in page(PAGE, [{**whole, **run}])
    for flags, wanted in (
        ((), True),
        (("--data.augmentation.flip", "false"), False),
        (("--data.augmentation", "none"), False),
        (("--data.augmentation", "crop-flip"), True),
    ):
        # Whatever the file in the folder leaves to defaults, or does not say at all.
        for written in ("{data: {augmentation: crop-flip}}", "training: {epochs: 3}"):
            (tmp_path / "config.yaml").write_text(written)
            job = Job(Row("cifar10", "ct", "one-hot"), "fast", 0, flags, tmp_path)
            assert bool(_queue._viewing(job, 5)) == wanted


def test_a_supervised_run_stands_beside_its_twin(tmp_path):
    runs = []
    for name, accuracy in (("cifar10_fast_ct", 0.9), ("cifar10_fast_dt", 0.88), ("cifar10_fast_supervised", 0.92)):
        runs.append(record_of(tmp_path, json.loads(summary(0, accuracy, name=name, epochs=8))))
    found = page(PAGE, runs)
    assert "| CT, one-hot, the fast network | 8 | 1 | 90.00 (1) |  |  | 89.00 | 73.35 | 92.00 (-2.00) |" in found
    # The blocks of DT are of a narrower network.
    assert "| DT, one-hot, the fast network | 8 | 1 | 88.00 (1) |  |  | 87.00 | 79.25 |  |" in found
    assert "| supervised, one-hot, the fast network | 8 | 1 | 92.00 (1) |  |  |  |  |  |" in found
    narrow = record_of(tmp_path, json.loads(summary(0, 0.87, name="cifar10_fast_supervised", epochs=8)))
    narrow["settings"]["model.field.channels"] = runs[1]["settings"]["model.field.channels"]
    found = page(PAGE, [*runs, narrow])
    assert "| DT, one-hot, the fast network | 8 | 1 | 88.00 (1) |  |  | 87.00 | 79.25 | 87.00 (+1.00) |" in found
    assert "| 8 | 1 | 90.00 (1) |  |  | 89.00 | 73.35 | 92.00 (-2.00) |" in found


def test_runs_of_other_settings_are_kept_apart_and_the_same_run_is_replaced(tmp_path, call_script):
    (tmp_path / "page.md").write_text(PAGE)
    flags = ["--records", tmp_path / "records.jsonl", "--page", tmp_path / "page.md"]
    for accuracy, epochs in ((0.9, 3), (0.95, 100), (0.96, 100)):
        (tmp_path / "summary.json").write_text(summary(0, accuracy, epochs=epochs))
        assert call_script("reproduce", "page", tmp_path, *flags)[0] == 0
    assert (
        "97.84; 90.00 (3 epochs, 1 seed, 1 draw), 96.00 (100 epochs, 1 seed, 1 draw)"
        in (tmp_path / "page.md").read_text()
    )


def test_a_run_that_is_recorded_again_replaces_a_record_from_before_a_setting_was_there(tmp_path, call_script):
    """It is not another seed."""
    (tmp_path / "page.md").write_text(PAGE)
    values = json.loads(summary(0, 0.9, name="cifar10_fast_ct", epochs=16))
    older = json.loads(json.dumps(values))
    del older["config"]["prediction"]["shift"]
    (tmp_path / "records.jsonl").write_text(json.dumps(record_of(tmp_path, older)) + "\n")
    (tmp_path / "summary.json").write_text(json.dumps(values))
    flags = ["--records", tmp_path / "records.jsonl", "--page", tmp_path / "page.md"]
    assert call_script("reproduce", "page", tmp_path, *flags)[0] == 0
    (line,) = (tmp_path / "records.jsonl").read_text().splitlines()
    assert "prediction.shift" in json.loads(line)["settings"]


def test_the_command_keeps_records_of_folders_that_are_gone(tmp_path, call_script):
    (tmp_path / "page.md").write_text(PAGE)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "summary.json").write_text(summary(0, 0.9))
    flags = ["--records", tmp_path / "records.jsonl", "--page", tmp_path / "page.md"]
    code, out, err = call_script("reproduce", "page", tmp_path / "a", tmp_path / "b", *flags)
    assert code == 0 and "1 runs" in out and "passed over" in err and "b holds no finished run" in err
    once = (tmp_path / "page.md").read_text()
    (tmp_path / "a" / "summary.json").unlink()
    assert call_script("reproduce", "page", *flags)[0] == 0
    assert (tmp_path / "page.md").read_text() == once and "3 epochs, 1 seed, 1 draw)" in once


def test_records_that_change_meanwhile_are_kept(tmp_path, call_script, monkeypatch):
    """Two of these commands at once: the one that is later ready writes nothing."""
    records = tmp_path / "records.jsonl"
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "summary.json").write_text(summary(0, 0.9))
    flags = ["--records", records, "--page", tmp_path / "page.md"]
    before = (tmp_path / "page.md").read_text()

    def meanwhile(*arguments, **how):
        records.write_text("{}\n")
        return page(*arguments, **how)

    monkeypatch.setattr("noprop_ode.experiment.command._reproduce.page", meanwhile)
    code, _, err = call_script("reproduce", "page", tmp_path, *flags)
    assert code == 2 and "changed by another program meanwhile" in err
    assert records.read_text() == "{}\n" and (tmp_path / "page.md").read_text() == before


def evaluations_of(*records, figures=None) -> str:
    return page(EVALUATIONS, records, figures=figures)


def test_the_page_says_how_few_evaluations_are_enough(tmp_path):
    found = record_of(tmp_path, json.loads(summary(0, 0.9, name="mnist_fast_ct", epochs=8)))
    assert evaluations_of(found).count("\n|") == 2  # nothing was measured of it
    (tmp_path / "evaluations.json").write_text(json.dumps({"epochs": 8, "images": 6000, "points": POINTS}))
    found = record(tmp_path)
    flow = {**found, "variant": "fm", "evaluations": {**found["evaluations"], "points": {**POINTS, "DDIM": []}}}
    text = evaluations_of(found, flow)
    assert "| data |  | the default | 1000 Euler steps | Euler | Heun | DDIM |" in text
    assert "| CT, one-hot, the fast network | 91.00 (1) | 90.00 (1000) | 89.90 (2) | – |  |" in text
    ((name, figure),) = figures([found]).items()
    assert f"8 epochs, seed 0; 6000 held-out images](static/{name})" in evaluations_of(found, figures="static")
    likelihoods = figure.axes[2].lines[0].get_ydata()
    assert list(likelihoods) == [0.9, 0.8]  # one is infinite
    assert record_of(tmp_path, json.loads(summary(1, 0.9, epochs=8)))["seed"] == 1


def test_the_figures_of_a_page_are_the_same_bytes_when_drawn_again(tmp_path, call_script):
    (tmp_path / "page.md").write_text(PAGE + EVALUATIONS)
    (tmp_path / "summary.json").write_text(summary(0, 0.9))
    (tmp_path / "evaluations.json").write_text(json.dumps({"epochs": 3, "images": 60, "points": POINTS}))
    flags = ["--records", tmp_path / "records.jsonl", "--page", tmp_path / "page.md", "--figures", tmp_path / "a" / "b"]
    drawn = []
    for _ in range(2):
        assert call_script("reproduce", "page", tmp_path, *flags)[0] == 0
        (file,) = (tmp_path / "a" / "b").iterdir()
        drawn.append((file.read_bytes(), (tmp_path / "page.md").read_text()))
    assert drawn[0] == drawn[1] and f"](a/b/{file.name})" in drawn[0][1]


def test_a_page_that_cannot_be_made_leaves_the_records_alone(tmp_path, call_script):
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "records.jsonl").write_text("{}\n<<<<<<< ours\n")
    (tmp_path / "summary.json").write_text(summary(0, 0.9))
    flags = ["--records", tmp_path / "records.jsonl", "--page", tmp_path / "page.md"]
    code, _, error = call_script("reproduce", "page", tmp_path, *flags)
    assert code == 2 and "records.jsonl, line 1, is no record" in error
    (tmp_path / "records.jsonl").unlink()
    values = json.loads(summary(0, 0.9))
    values["config"]["data"]["name"] = {"type": "mine", "size": 64}
    (tmp_path / "summary.json").write_text(json.dumps(values))
    assert call_script("reproduce", "page", tmp_path, *flags)[0] == 0
    assert "| mine | CT, one-hot, " in (tmp_path / "page.md").read_text()


def test_a_page_without_places_or_with_one_that_does_not_end_is_refused():
    with pytest.raises(ConfigError, match="no place for a table"):
        page("# Results\n", [])
    with pytest.raises(ConfigError, match="The table overview of the page has no <!-- end -->"):
        page(PAGE.replace("<!-- end -->", "", 1), [])


def test_a_supervised_run_has_no_trajectory(tmp_path):
    values = json.loads(summary(0, 0.9, name="cifar10_fast_ct"))
    values["config"]["model"]["variant"] = {"type": "supervised"}
    text = page(PAGE, [record_of(tmp_path, values)])
    line = next(line for line in text.splitlines() if "| supervised, one-hot" in line and "CIFAR-10" in line)
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[5] == "90.00 (1)" and cells[8] == ""
