"""`prepare` beside other runs, after interruptions, and in folders that are not its own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archives import leftovers, write_idx

from noprop_ode import RunError, RunFolder, data
from noprop_ode.data.__main__ import main
from noprop_ode.data.prepare import _prepare, _write


REPO = Path(__file__).resolve().parents[2]


def test_usage(tmp_path, capsys):
    assert main(["prepare", "mnits"]) == 2
    assert "Did you mean 'mnist'?" in capsys.readouterr().err
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "none")]) == 2
    assert "--archives to be a folder" in capsys.readouterr().err
    assert main(["list", "--data-dir", str(tmp_path / "none")]) == 0
    captured = capsys.readouterr()
    assert "digits  (built in)" in captured.out and "nothing is prepared" in captured.err
    with pytest.raises(SystemExit) as caught:
        main(["prepare"])
    assert caught.value.code == 2
    assert not (tmp_path / "tfds").exists()


def test_a_set_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys, monkeypatch):
    written = '{"splits": [{"name": "training_é", "shardLengths": ["2"]}], "fileFormat": "array_record"}'
    infos = [tmp_path / "tfds" / name / "1.0.0" / "dataset_info.json" for name in ("locked", "open")]
    for info in infos:
        info.parent.mkdir(parents=True)
        info.write_text(written, encoding="utf-8")
    read = Path.read_text

    def denied(path, *args, **how):
        assert how == {"encoding": "utf-8"}
        if path == infos[0]:
            raise PermissionError(13, "Permission denied")
        return read(path, *args, **how)

    monkeypatch.setattr(Path, "read_text", denied)
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "locked 1.0.0  its dataset_info.json cannot be read" in listed and "open 1.0.0  training_é 2" in listed


def test_a_folder_of_someone_else_is_left_alone(tmp_path, capsys):
    foreign = tmp_path / "tfds" / "mnist" / "3.0.1" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    write_idx(tmp_path / "archives")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 2
    assert "move it away" in capsys.readouterr().err and foreign.read_text() == "mine"


@pytest.mark.parametrize("written", ['"fileFormat": "tfrecord",', ""])
def test_a_folder_in_another_format_is_no_dead_end(tmp_path, capsys, written):
    write_idx(tmp_path / "archives")
    arguments = ["prepare", "mnist", "--archives", str(tmp_path / "archives")]
    assert main(arguments) == 0
    folder = tmp_path / "tfds" / "mnist" / "3.0.1"
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"fileFormat": "array_record",', written))
    with pytest.raises(data.DatasetError, match=r"3\.0\.1, got format 'tfrecord'; move that folder away"):
        data.load("mnist")
    capsys.readouterr()
    assert main(["list"]) == 0 and "'tfrecord', which cannot be loaded" in capsys.readouterr().out
    assert main(arguments) == 2 and "move that folder away" in capsys.readouterr().err
    folder.rename(tmp_path / "away")
    assert main(arguments) == 0 and main(["list"]) == 0 and "tfrecord" not in capsys.readouterr().out


def test_a_data_dir_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "tfds").write_text("a file")
    write_idx(tmp_path / "archives")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 1
    assert str(tmp_path / "tfds") in capsys.readouterr().err


@pytest.mark.parametrize("failure, status", [(KeyboardInterrupt, 130), (OSError(28, "No space left"), 1)])
def test_a_run_that_fails_leaves_nothing_and_can_be_run_again(tmp_path, capsys, monkeypatch, failure, status):
    write_idx(tmp_path / "archives")
    arguments = ["prepare", "mnist", "--archives", str(tmp_path / "archives")]
    record, calls = _write._record, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 45:
            raise failure
        return record(*args)

    monkeypatch.setattr(_write, "_record", failing)
    assert main(arguments) == status
    assert "error: " in capsys.readouterr().err and leftovers(tmp_path) == []
    assert main(arguments) == 0
    assert leftovers(tmp_path) == ["3.0.1"]


def test_a_killed_run_leaves_no_final_folder(tmp_path):
    write_idx(tmp_path / "archives", counts=(20000, 20))
    arguments = ["prepare", "mnist", "--archives", str(tmp_path / "archives")]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    run = subprocess.Popen([sys.executable, "-m", "noprop_ode.data", *arguments], env=environment)
    deadline = time.monotonic() + 60
    while not leftovers(tmp_path):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    (building,) = leftovers(tmp_path)
    assert re.fullmatch(r"\.noprop_ode-[0-9a-f]{8}\.incomplete", building)
    # While it runs, a second run says so and touches nothing.
    with pytest.raises(RunError, match="Another run"):
        _prepare.prepare("mnist", tmp_path / "tfds", tmp_path / "archives")
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert leftovers(tmp_path) == [building]
    with pytest.raises(data.DatasetNotFoundError):
        data.load("mnist")
    write_idx(tmp_path / "archives")
    assert main(arguments) == 0
    assert leftovers(tmp_path) == ["3.0.1"]


def names_in(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*"))


def test_a_run_that_is_refused_changes_nothing(tmp_path):
    """Also when the first run has made its folder and nothing in it yet."""
    filelock = pytest.importorskip("filelock")
    folder = tmp_path / "tfds" / "mnist"
    folder.mkdir(parents=True)
    write_idx(tmp_path / "archives")
    with filelock.FileLock(folder / ".noprop_ode.lock"):
        before = names_in(tmp_path)
        with pytest.raises(RunError, match=r"Another run is writing to .*mnist"):
            _prepare.prepare("mnist", tmp_path / "tfds", tmp_path / "archives")
        assert names_in(tmp_path) == before
    assert _prepare.prepare("mnist", tmp_path / "tfds", tmp_path / "archives")[1]


def test_what_another_run_finished_in_the_meantime_is_taken(tmp_path, monkeypatch):
    write_idx(tmp_path / "archives")
    other = tmp_path / "other"
    arguments = ("mnist", tmp_path / "tfds", tmp_path / "archives")
    _prepare.prepare("mnist", other, tmp_path / "archives")

    def late(folder):
        # Between the first look and the lock.
        (tmp_path / "tfds").mkdir()
        (other / "mnist").rename(tmp_path / "tfds" / "mnist")
        return RunFolder(folder)

    monkeypatch.setattr(_prepare, "RunFolder", late)
    monkeypatch.setattr(_prepare, "write_folder", None)
    assert _prepare.prepare(*arguments) == (tmp_path / "tfds" / "mnist" / "3.0.1", False)


@pytest.mark.parametrize("content", ["link", "folder"])
def test_a_lock_that_is_not_ours_is_left_alone(tmp_path, capsys, content):
    write_idx(tmp_path / "archives")
    lock, mine = tmp_path / "tfds" / "mnist" / ".noprop_ode.lock", tmp_path / "mine.txt"
    lock.parent.mkdir(parents=True)
    mine.write_text("precious")
    lock.symlink_to(mine) if content == "link" else lock.mkdir()
    before = names_in(tmp_path)
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 1
    assert "Cannot write to the folder" in capsys.readouterr().err and names_in(tmp_path) == before
    assert mine.read_text() == "precious"


def test_only_what_killed_runs_left_is_removed(tmp_path):
    write_idx(tmp_path / "archives")
    folder, elsewhere = tmp_path / "tfds" / "mnist", tmp_path / "elsewhere"
    ours = ["features.json", "label.labels.txt", "mnist-train.array_record-00000-of-00001", "dataset_info.json"]
    for place in (folder / ".noprop_ode-0123abcd.incomplete", elsewhere, folder / ".noprop_ode-mine.incomplete"):
        place.mkdir(parents=True)
        for name in ours:
            (place / name).write_text("x")
    linking = folder / ".noprop_ode-00000000.incomplete"
    linking.mkdir()
    (linking / "features.json").symlink_to(elsewhere / "features.json")
    (folder / ".noprop_ode-11111111.incomplete").symlink_to(elsewhere)
    (folder / ".noprop_ode-22222222.incomplete").write_text("a file")
    (folder / ".3.0.1.incomplete").mkdir()
    before = set(names_in(tmp_path))
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 0
    gone = before - set(names_in(tmp_path))
    killed, linking = (f"tfds/mnist/.noprop_ode-{digits}.incomplete" for digits in ("0123abcd", "00000000"))
    assert gone == {killed, *(f"{killed}/{name}" for name in ours), linking, f"{linking}/features.json"}
    assert len(data.load("mnist", validation=0).train) == 40


def test_a_folder_that_was_there_and_empty_stays(tmp_path):
    (tmp_path / "tfds" / "mnist").mkdir(parents=True)
    write_idx(tmp_path / "archives")
    (tmp_path / "archives" / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>404</html>")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 2
    assert (tmp_path / "tfds" / "mnist").is_dir()


def test_a_link_to_nothing_under_the_final_name_is_left_alone(tmp_path, capsys):
    final = tmp_path / "tfds" / "mnist" / "3.0.1"
    final.parent.mkdir(parents=True)
    final.symlink_to(tmp_path / "not mounted")
    write_idx(tmp_path / "archives")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 2
    assert "move it away" in capsys.readouterr().err and final.is_symlink()
