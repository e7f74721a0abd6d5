"""Streamed data from a configuration and from the command line."""

import sys
from pathlib import Path

import numpy as np
import pytest

from noprop_ode.data import DatasetError
from noprop_ode.experiment import Config, ConfigError, register
from noprop_ode.experiment._data import describe, load_data
from noprop_ode.experiment._parts_model import _first_images
from noprop_ode.experiment._run_folder import differences


sys.path.append(str(Path(__file__).parents[1] / "data"))
from tfds_folders import make_folder


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("NOPROP_ODE_CACHE", str(tmp_path / "cache"))
    make_folder(tmp_path, train=90, test=16)
    return Config.from_plain({"data": {"name": "toys", "dir": str(tmp_path)}})


def test_a_configuration_streams_what_it_otherwise_holds_in_memory(config):
    memory, disk = load_data(config), load_data(config.replace(data={"stream": True, "workers": 2}))
    assert disk.train.streamed and disk.train.images.workers == 2 and not memory.train.streamed
    assert describe(disk.train) == describe(memory.train)
    np.testing.assert_array_equal(disk.validation.images[:], memory.validation.images)


def test_whitening_looks_at_the_images_that_it_looks_at_in_memory(config):
    memory, disk = load_data(config).train, load_data(config.replace(data={"stream": True})).train
    for part in (memory, disk):
        np.testing.assert_array_equal(_first_images(part, count=7), memory.images[:7])
    few = _first_images(disk, count=50, size=20 * 6 * 5 * 3)
    assert isinstance(few, np.ndarray) and len(few) == 20
    np.testing.assert_array_equal(_first_images(memory, count=50, size=20 * 6 * 5 * 3), memory.images[:50])


def test_what_is_not_there_to_be_streamed_is_refused(config):
    with pytest.raises(DatasetError, match="leave stream out"):
        load_data(config.replace(data={"name": "digits", "stream": True}))
    with pytest.raises(DatasetError, match=r"workers of at least 0, and 0 without stream=True, got workers=2"):
        load_data(config.replace(data={"workers": 2}))

    @register("data", "streamed-test-loader")
    def loader(data_dir, validation, seed):
        raise AssertionError("not called")

    with pytest.raises(ConfigError, match=r"data\.stream: the loader 'streamed-test-loader' decides itself"):
        load_data(config.replace(data={"name": "streamed-test-loader", "stream": True}))
    with pytest.raises(ConfigError, match=r"data\.workers: the loader"):
        load_data(config.replace(data={"name": "streamed-test-loader", "workers": 1}))


def test_a_resumed_run_may_change_its_workers_and_be_older_than_the_setting(config):
    began = config.to_plain()
    assert differences(began, config.replace(data={"workers": 3})) == []
    assert differences(began, config.replace(data={"stream": True})) == ["data.stream"]
    del began["data"]["stream"], began["data"]["workers"]
    assert differences(began, config) == []
    assert differences(began, config.replace(data={"stream": True})) == ["data.stream"]
