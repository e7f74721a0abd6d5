"""`python -m benchmarks`: the page says what the results say, and a run survives whatever a benchmark does."""

import re
from types import SimpleNamespace

import jax
import pytest

from benchmarks import __main__ as command
from benchmarks._figures import digest
from benchmarks._goals import Goal, goals_table
from benchmarks._measure import Samples, Seconds, alternating, compared
from benchmarks._page import FIGURES, NAMES, PAGE, benchmark, page
from benchmarks._record import RESULTS, Result, machine, read, write
from benchmarks._skipped import Skipped


STORED = [name for name in NAMES if read(RESULTS / f"{name}.jsonl") is not None]
QUICK = ("convolution", "input")  # in this process alone, and quick to compile


def rows_of(name):
    result = read(RESULTS / f"{name}.jsonl")
    assert result is not None
    return result.rows


def test_the_page_is_made_from_the_results():
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS)
    assert "Not measured yet" in page(RESULTS / "nowhere")


def test_the_figures_are_of_the_results():
    """By what they carry of their rows: the lines of a figure depend on the version of Matplotlib."""
    there = {path.name: path.read_text(encoding="utf-8") for path in FIGURES.iterdir()}
    assert set(there) == set(re.findall(r"_static/performance/(\S+)\)", PAGE.read_text(encoding="utf-8")))
    for name in STORED:
        for figure in benchmark(name).figures(rows_of(name)):
            assert f"rows {digest(rows_of(name))}" in there[f"{figure}.svg"], "python -m benchmarks page"
    assert all(len(text) < 200 * 1024 for text in there.values())


@pytest.mark.parametrize("name", STORED)
def test_smoke_runs_are_not_kept(name):
    about = read(RESULTS / f"{name}.jsonl").about
    assert about["benchmark"] == name and about["quick"] is False
    assert {"date", "processor", "cores", "versions", "seconds"} <= set(about)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in NAMES])
def test_a_smoke_run(name, tmp_path):
    try:
        with jax.numpy_dtype_promotion("standard"):  # optax's AdamW relies on it
            rows = list(benchmark(name).measure(True))
    except Skipped as reason:
        pytest.skip(str(reason))
    write(tmp_path / f"{name}.jsonl", Result({"benchmark": name, "quick": True, "seconds": 1.0, **machine()}, rows))
    text = page(tmp_path)
    assert text.count("Not measured yet") == len(NAMES) - 1
    assert "a smoke run whose figures mean nothing" in text
    for figure in benchmark(name).figures(rows):
        assert f"_static/performance/{figure}.svg" in text


def test_sides_alternate_and_nobody_always_comes_first():
    calls = []
    sides = {name: lambda name=name: calls.append(name) for name in "abc"}
    samples = alternating(sides, rounds=4, least=0.0)
    assert calls == [*"abc", *"abc", *"abc", *"bca", *"cab", *"abc"]  # to compile, to warm up, and four rounds
    assert [len(s.rounds) for s in samples.values()] == [4, 4, 4]


def test_short_calls_are_repeated():
    calls = []
    alternating({"a": lambda: calls.append(None)}, rounds=1, least=0.001)
    assert len(calls) > 10


def samples(first, *rounds):
    return Samples(Seconds(*first), [Seconds(*each) for each in rounds])


def test_a_ratio_is_taken_within_a_round():
    """The second round was twice as slow for both, and changes no ratio."""
    both = {
        "ours": samples((9.0, 6.0), (1.0, 2.0), (2.0, 4.0), (1.0, 2.0)),
        "theirs": samples((5.0, 5.0), (1.0, 1.0), (2.0, 2.0), (1.0, 1.0)),
    }
    row = compared(both, "ours", "theirs", times=4)
    assert row["ratio"] == [0.5, 0.5, 0.5] and row["ratio_wall"] == [0.25, 0.25, 0.25]
    assert (row["cpu"], row["wall"], row["compile_cpu"], row["compile_wall"]) == (2.0, 1.0, 4.0, 8.0)
    assert row["against"] == "4 x theirs" and row["cpu_against"] == 4.0


def test_one_that_fails_is_reported_and_the_others_go_on(monkeypatch, capsys, tmp_path):
    codes, commands = {"train_step": 1, "torch_step": command._SKIPPED}, []

    def run(arguments, **how):
        commands.append(arguments)
        assert how["env"]["JAX_ENABLE_COMPILATION_CACHE"] == "false"
        return SimpleNamespace(returncode=codes.get(arguments[4], 0))

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.main(["run", "--out", str(tmp_path)]) == 1
    assert [arguments[4] for arguments in commands] == list(NAMES)
    assert "failed: train_step\n" in capsys.readouterr().err
    assert command.main(["run", "growth", "torch_step", "--quick"]) == 0
    assert commands[-1][4:] == ["torch_step", "--here", "--quick"], "a smoke run keeps nothing"


@pytest.mark.parametrize("error, code", [(Skipped("no torch"), command._SKIPPED), (None, 0)])
def test_what_is_kept_of_a_run(error, code, monkeypatch, capsys, tmp_path):
    def measure(quick):
        yield {"case": "one", "cpu": 0.5}
        if error is not None:
            raise error

    monkeypatch.setattr(command, "benchmark", lambda name: SimpleNamespace(measure=measure))
    monkeypatch.setattr("noprop_ode.keep_freed_memory", lambda: True)  # not in the process of the tests
    before = Result({"benchmark": "growth"}, [{"case": "before"}])
    write(tmp_path / "growth.jsonl", before)
    assert command.main(["run", "growth", "--here", "--out", str(tmp_path)]) == code
    found = read(tmp_path / "growth.jsonl")
    assert found.rows == ([{"case": "one", "cpu": 0.5}] if error is None else before.rows)
    assert ("skipped, no torch" in capsys.readouterr().out) == (error is not None)


def test_the_command_line(capsys):
    assert command.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"^{name} +\S.*\.$", listed, re.MULTILINE) for name in NAMES)
    with pytest.raises(SystemExit):
        command.main(["run", "nothing"])
    assert "there is no benchmark nothing; choose from train_step" in capsys.readouterr().err


def test_a_goal_is_met_or_says_what_holds_it_back():
    """As it reads: 1.049 is 1.05."""
    goals = [Goal("a step", 1.049, 1.05), Goal("a start", 9.8, 8, " s", held_back="the compiler")]
    text = goals_table(goals)
    assert "| a step | 1.05 | 1.05 | met |" in text
    assert "| a start | 8 s | 9.8 s | missed: the compiler |" in text


@pytest.mark.parametrize("name", [n for n in STORED if hasattr(benchmark(n), "goals")])
def test_what_is_missed_has_a_reason(name):
    for goal in benchmark(name).goals(rows_of(name)):
        assert goal.met or goal.held_back, goal.what
