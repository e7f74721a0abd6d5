"""Compiled programs that commands keep: the same numbers, less time, and no harm where they cannot be kept."""

import os
import warnings

import jax
import jax.monitoring
import pytest
from jax.experimental.compilation_cache import compilation_cache
from runs import assert_same_run, into, stop_at

from noprop_ode.experiment import _programs, run
from noprop_ode.experiment._main import guarded


SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def jax_settings(monkeypatch):
    """The settings as a process starts with them; afterwards as they were."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(_programs.VARIABLE, str(tmp_path / "programs"))
    return tmp_path / "programs"


@pytest.fixture
def compiled():
    """How many programs were compiled, and how many read."""
    counts = {"compiled": 0, "read": 0}

    def count(event: str, **_) -> None:
        counts["compiled"] += event == "/jax/compilation_cache/cache_misses"
        counts["read"] += event == "/jax/compilation_cache/cache_hits"

    jax.monitoring.register_event_listener(count)
    yield counts
    jax.monitoring.unregister_event_listener(count)


@pytest.mark.usefixtures("standard_promotion", "without_plots")
def test_a_run_that_goes_on_with_programs_that_were_kept_is_the_same_to_the_last_bit(
    tmp_path, folder, compiled, monkeypatch
):
    run(into(tmp_path / "without", training={"epochs": 2}))
    jax.clear_caches()
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        stop_at(patch, 5)
        guarded(lambda: run(into(tmp_path / "kept", training={"epochs": 2})))
    jax.clear_caches()
    first = dict(compiled)
    guarded(lambda: run(into(tmp_path / "kept", training={"epochs": 2}), resume=tmp_path / "kept"))
    assert compiled["read"] - first["read"] > 0.8 * first["compiled"] > 10
    assert_same_run(tmp_path / "without", tmp_path / "kept")


def test_each_processor_has_a_folder_that_nobody_else_may_write(folder):
    (own,) = [_programs.keep_programs()]
    assert own.parent == folder and own.name == _programs._processor()
    assert jax.config.jax_compilation_cache_dir == str(own)
    if os.name == "posix":
        assert own.stat().st_mode & 0o077 == 0


def test_by_default_they_lie_beside_the_images(tmp_path, monkeypatch):
    monkeypatch.delenv(_programs.VARIABLE)
    monkeypatch.setenv("NOPROP_ODE_CACHE", str(tmp_path))
    assert _programs.keep_programs().parent == tmp_path / "programs"


def test_off_and_settings_of_jax_are_respected(monkeypatch, folder, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    before = [getattr(jax.config, name) for name in SETTINGS]
    assert _programs.keep_programs() is None
    assert [getattr(jax.config, name) for name in SETTINGS] == before
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv(_programs.VARIABLE, "off")
    assert _programs.keep_programs() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(_programs.VARIABLE, str(tmp_path / "file" / "programs"))
    _programs.warn_once.cache_clear()
    with pytest.warns(UserWarning, match=_programs.VARIABLE):
        assert _programs.keep_programs() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _programs.keep_programs() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_above_its_bound_a_folder_loses_what_was_used_least_recently(tmp_path):
    (tmp_path / "folder").mkdir()
    for age in range(10):
        path = tmp_path / f"{age}-cache"
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    _programs._prune(tmp_path, 10_000)
    assert len(list(tmp_path.iterdir())) == 11
    _programs._prune(tmp_path, 900)
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert left == [f"{age}-cache" for age in range(len(left))] and 1 <= len(left) <= 4
