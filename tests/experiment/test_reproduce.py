"""The paper's table: its rows, the queue of its runs, and its page."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import noprop_ode as no
from noprop_ode.experiment import ConfigError, find_config, override, parse_overrides
from noprop_ode.experiment.reproduce import PAPER, Job, Row, _queue, jobs, page, record, work
from noprop_ode.experiment.reproduce._rows import rows_of


DIGITS = Row("digits", "ct", "one-hot")


def test_every_row_of_the_paper_is_a_configuration():
    assert len(PAPER) == 39
    for row in PAPER:
        name, *flags = row.arguments("paper")
        config = override(find_config(name), parse_overrides(flags))
        embedding = {"dim-20": "learned"}.get(row.embedding, row.embedding)
        chosen = (config.data.name.type, config.model.variant.type, config.model.embedding.type)
        assert chosen == (row.data, row.variant, embedding)


def test_rows_are_named_by_patterns():
    assert rows_of(["mnist/ct/one-hot"], "paper") == [Row("mnist", "ct", "one-hot")]
    assert len(rows_of(["cifar10/*/*"], "paper")) == 13 and len(rows_of([], "paper")) == 39
    assert Row("cifar10", "supervised", "one-hot") in rows_of(["*/*/one-hot"], "fast")
    for wrong in ("mnist", "mnist/ct/onehot", "imagenet/ct/one-hot"):
        with pytest.raises(ConfigError, match="goes with no row"):
            rows_of([wrong], "paper")


def test_a_run_that_has_begun_is_gone_on_with(tmp_path):
    first, second = jobs([DIGITS], "ours", [0, 4], ["--epochs", "2"], tmp_path)
    assert first.command[3:] == [
        *("train", "digits_ct", "--epochs", "2", "--training.seed", "0"),
        *("--output.dir", str(tmp_path / "ours-digits-ct-one-hot-seed0")),
    ]
    second.folder.mkdir()
    settings = override(find_config("digits_ct"), parse_overrides(["--epochs", "2", "--seed", "4"]))
    (second.folder / "config.yaml").write_text(json.dumps(settings.to_plain()))
    assert second.command[3:] == ["train", "--resume", str(second.folder)] and not second.finished
    second.check()
    (second.folder / "summary.json").write_text(json.dumps({"config": {"training": {"epochs": 1}}}))
    assert not second.finished  # it is being extended
    (second.folder / "summary.json").write_text(json.dumps({"config": {"training": {"epochs": 2}}}))
    assert second.finished
    with pytest.raises(ConfigError, match=r"has other settings: training\.epochs\. Give"):
        work([second._replace(overrides=("--epochs", "3"))], draws=1, hours=None)
    with pytest.raises(ConfigError, match=r"has other settings: model\.field"):
        second._replace(overrides=("--epochs", "2", "--field", "mlp")).check()
    with pytest.raises(ConfigError, match="seeds are chosen by --seeds"):
        second._replace(overrides=("--epochs", "2", "--seed", "5")).check()


def test_code_that_the_command_line_imports_is_trusted_when_a_run_goes_on(tmp_path):
    (job,) = jobs([DIGITS], "ours", [0], ["--imports", "mine.py", "--data-dir", "here"], tmp_path)
    job.folder.mkdir()
    (job.folder / "config.yaml").write_text("training: {epochs: 2}\n")
    assert job.command[4:] == ["--resume", str(job.folder), "--trust-imports", "--data-dir", "here"]
    here = str(Path("here").absolute())
    assert _queue._PARTS["draws"](job, 3)[3:] == [str(job.folder), "3", here, "trusted"]


def test_draws_that_are_older_than_the_evaluation_beside_them_are_completed(tmp_path, monkeypatch):
    monkeypatch.setattr(_queue, "finished_epochs", lambda folder: 2)
    for variant, needed in (("ct", True), ("dt", True), ("fm", False), ("supervised", False)):
        (job,) = jobs([Row("digits", variant, "one-hot")], "ours", [0], [], tmp_path)
        job.folder.mkdir()
        kept = {"epochs": 2, "draws": [{}, {}]}
        (job.folder / "draws.json").write_text(json.dumps(kept))
        assert bool(_queue._PARTS["draws"](job, 2)) == needed, variant
        (job.folder / "draws.json").write_text(json.dumps({**kept, "once": {}}))
        assert not _queue._PARTS["draws"](job, 2), variant


def queue(tmp_path, monkeypatch, code: str, count=2) -> list[Job]:
    """Jobs that run some code, which finds its folder in `folder`, instead of training; nothing is measured."""
    prelude = "import pathlib, shutil, signal, sys, time; folder = pathlib.Path(sys.argv[1]); folder.mkdir(); "
    for seed in range(count):
        settings = override(find_config("digits_ct"), parse_overrides(["--seed", str(seed)])).to_plain()
        (tmp_path / f"done{seed}").mkdir()
        (tmp_path / f"done{seed}" / "config.yaml").write_text(json.dumps(settings))
        (tmp_path / f"done{seed}" / "summary.json").write_text(json.dumps({"config": settings}))

    def training(job, draws):
        return [] if job.finished else [sys.executable, "-c", prelude + code, str(job.folder)]

    monkeypatch.setattr(_queue, "_PARTS", {"training": training})
    return jobs([DIGITS], "ours", range(count), [], tmp_path)


def costs(tmp_path) -> list[dict]:
    lines = [json.loads(line) for line in (tmp_path / "costs.jsonl").read_text().splitlines()]
    assert sum("begins" in line for line in lines) == len(lines) / 2
    return [line for line in lines if "exit" in line]


FINISHES = """
folder.rmdir()
if "seed1" in folder.name:
    sys.exit(3)
shutil.copytree(folder.parent / f"done{folder.name[-1]}", folder)
"""


def test_what_is_finished_is_not_run_again_and_what_fails_stops_nothing(tmp_path, monkeypatch):
    todo = queue(tmp_path, monkeypatch, FINISHES, 3)
    said = []
    assert work(todo, draws=5, hours=None, say=said.append) == 1
    assert [job.finished for job in todo] == [True, False, True]
    assert [c["exit"] for c in costs(tmp_path)] == [0, 3, 0] and any("exit code 3" in line for line in said)
    assert all(c["cpu_seconds"] > 0 and c["gib"] > 0 for c in costs(tmp_path))
    assert work(todo, draws=5, hours=None, say=said.append) == 1
    assert len(costs(tmp_path)) == 4  # the one that failed


STUCK = "signal.signal(signal.SIGTERM, lambda *_: (folder / 'told').open('a').write('x')); (folder / 'up').touch()"
WAITS = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); (folder / 'up').touch(); time.sleep(600)"


def test_the_run_at_hand_is_told_when_the_time_is_over(tmp_path, monkeypatch):
    todo = queue(tmp_path, monkeypatch, WAITS)
    began = time.monotonic()
    assert work(todo, draws=5, hours=4 / 3600, say=lambda text: None) == 0
    assert time.monotonic() - began < 300 and [c["exit"] for c in costs(tmp_path)] in ([143], [128 + signal.SIGTERM])
    assert not todo[1].folder.exists()
    assert work(todo, draws=5, hours=0.0, say=lambda text: None) == 0 and len(costs(tmp_path)) == 1


@pytest.mark.parametrize("stuck", [False, True])
def test_a_signal_is_passed_on_and_nothing_else_begins(stuck, tmp_path, monkeypatch):
    """One that does nothing about two signals is killed by the third."""
    todo = queue(tmp_path, monkeypatch, f"{STUCK}; [time.sleep(1) for _ in range(600)]" if stuck else WAITS)

    def stop():
        while not (todo[0].folder / "up").exists():
            time.sleep(0.05)
        for _ in range(3 if stuck else 1):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    with pytest.raises(no.Interrupted) as stopped:
        work(todo, draws=5, hours=None, say=lambda text: None)
    assert stopped.value.exit_code == 143
    thread.join()
    assert [c["exit"] for c in costs(tmp_path)] == [137 if stuck else 143] and not todo[1].folder.exists()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of POSIX")
def test_a_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _queue._handled(lambda number, frame: pytest.fail("it was heard")):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_row_from_training_to_its_page(tmp_path):
    flags = "--field mlp --model.field.width 16 --epochs 1 --paper_steps 5 --protocols none".split()
    todo = jobs([DIGITS], "ours", [0], flags, tmp_path)
    assert work(todo, draws=2, hours=None) == 0
    found = record(todo[0].folder)
    assert len(found["draws"]) == 2 and found["draws"][0] != found["draws"][1] and found["cpu_seconds"] > 1
    places = "".join(f"<!-- table: {name} -->\n<!-- end -->\n" for name in ("other", "evaluations"))
    text = page(places, [found])
    assert "| digits | CT, one-hot, our recipe, `field` mlp, `width` 16, `paper_steps` 5 | 1 | 1 |" in text
    assert work(todo, draws=2, hours=0.0) == 0 and len(costs(tmp_path)) == 3
    assert found["evaluations"]["images"] == 144 and text.count("| digits | CT, one-hot, our recipe") == 2
