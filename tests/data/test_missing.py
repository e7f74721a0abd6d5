"""What is missing in a data set is told: labels, and files behind links."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noprop_ode as no


XS = np.zeros((6, 4, 4, 1), np.uint8)
NAMES = ["a", "b", "a", "b", "a", "b"]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([*NAMES[:5], None], object),
        np.array([0.0, 1.0, 0.0, 1.0, 0.0, float("nan")], object),
        np.array([*map(np.float32, (0, 1, 0, 1, 0)), np.float32("nan")], object),
        np.array([*[np.datetime64("2020-01-01")] * 5, np.datetime64("NaT", "D")], object),
        np.array([0.0, 1.0, 0.0, 1.0, 0.0, float("inf")], object),
        np.array([0.0, 1.0, 0.0, 1.0, 0.0, float("nan")]),
        np.array(["2020-01-01", "2021-01-01", "2020-01-01", "2021-01-01", "2020-01-01", "NaT"], "datetime64[D]"),
    ],
    ids=["None", "NaN among objects", "NumPy NaN among objects", "NaT among objects", "infinity", "NaN", "NaT"],
)
def test_a_label_that_is_missing_is_no_class(labels):
    with pytest.raises(no.data.DatasetError, match="expected a label for every image, got NaN, NaT, None"):
        no.data.from_arrays(XS, labels)


def pictures(root: Path) -> Path:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("follow_links", [False, True])
def test_a_link_to_nothing_is_named(tmp_path, follow_links):
    root = pictures(tmp_path / "set")
    (root / "a" / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(no.data.DatasetError, match=r"gone\.png is a symbolic link to nothing"):
        no.data.from_folder(root, follow_links=follow_links)


def test_a_folder_that_is_a_link_to_itself_is_named(tmp_path):
    root = pictures(tmp_path / "set")
    (root / "c").symlink_to(root / "c")
    with pytest.raises(no.data.DatasetError, match="c is a symbolic link to nothing"):
        no.data.from_folder(root, follow_links=True)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    root, listed = pictures(tmp_path / "set"), Path.iterdir

    def refused(path):
        if path.name == "a":
            raise PermissionError(13, os.strerror(13), str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(no.data.DatasetError, match=r"cannot list the folder .*a: Permission denied"):
        no.data.from_folder(root)
