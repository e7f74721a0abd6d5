"""Plots: that any data can be drawn, and that they harm nothing."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from figure_texts import texts
from runs import SETTINGS, save_run

import noprop_ode as no
from noprop_ode.experiment import Config, _evaluate, load_model, plot_confusion, plot_cost, plot_runs, plot_trajectories
from noprop_ode.experiment.report import _canvas, _confusion, _cost, _draw, confusion_matrix, draw_plots


ODD = (r"$a^b", "$x$", "\x1b[31mred\x1b[0m", "a\\b_{c", "", "ü" * 80)


def test_importing_and_drawing_leave_the_callers_matplotlib_alone(tmp_path):
    code = (
        "import sys, pathlib, noprop_ode.experiment as e\n"
        "assert 'matplotlib' not in sys.modules and 'PIL' not in sys.modules\n"
        "e.plot_learning_curves(pathlib.Path('a.png'), {'a': [{'kind': 'train', 'step': 1, 'denoising': 1.0}]})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "import matplotlib; assert dict.__getitem__(matplotlib.rcParams, 'backend') is not None\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (8, 8, 3), (8, 8, 4), (8, 8, 2), (8, 8, 5), (1, 9, 1), (9, 1, 3), (7,), (4, 5)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_image_of_any_shape_is_drawn(shape, dtype, tmp_path):
    figure = _canvas.new_figure(2, 2)
    image = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    _canvas.show_image(figure.subplots(), image - dtype(dtype is np.float32), _canvas.plain("$a^b"))
    _canvas.save(figure, tmp_path / "a.png")


@pytest.mark.plots
def test_odd_names_and_shapes_are_drawn_in_a_run(tmp_path, tiny_images, capsys):
    folder = save_run(tmp_path / "$run^a", names=ODD, shape=(1, 8, 5))
    model, config, _ = load_model(folder)
    draw_plots(folder, model, tiny_images((1, 8, 5), ODD), config)
    assert capsys.readouterr().err == ""
    for name in ("learning_curve.png", "probabilities.png", "confusion.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_a_plot_can_only_warn(saved, tmp_path, monkeypatch, capsys, tiny_images):
    def fail(*args, **how):
        raise ZeroDivisionError("of\nmany lines")

    monkeypatch.setattr(_draw, "plot_confusion", fail)
    monkeypatch.setattr(_draw, "plot_trajectories", lambda path, *args, **how: path.write_bytes(b"drawn"))
    shutil.copy(saved / "metrics.jsonl", tmp_path)
    draw_plots(tmp_path, load_model(saved)[0], tiny_images((2, 2, 1), ("a", "b")), Config.from_plain(SETTINGS))
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "confusion.png could not be drawn: of" in error
    assert (tmp_path / "probabilities.png").exists() and (tmp_path / "learning_curve.png").exists()


def test_a_plot_replaces_a_link_instead_of_writing_through_it(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    (tmp_path / "a.png").symlink_to(tmp_path / "mine.txt")
    _canvas.save(_canvas.new_figure(1, 1), tmp_path / "a.png")
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert not (tmp_path / "a.png").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "mine.txt"]


def test_the_cost_states_what_was_done_and_looks_closely_at_the_top(saved, figures, tmp_path, monkeypatch, tiny_images):
    found = iter([(1, 0.2, 3.0, 0.3), (2, 0.9, 0.5, 0.1), (4, 0.96, 0.2, 0.0), (8, 0.97, np.inf, 0.1)])
    fields = ("num_evaluations", "accuracy", "nll", "calibration_error")
    monkeypatch.setattr(
        _evaluate, "evaluate", lambda *args, **how: SimpleNamespace(**dict(zip(fields, next(found), strict=True)))
    )
    ways = [no.Prediction("noise", no.Ancestral(n), no.ReadoutDecoder()) for n in (1, 2, 4, 8)]
    plot_cost(
        tmp_path / "a.png",
        load_model(saved)[0],
        tiny_images((8, 8, 1), ("a", "b"), count=100),
        {"ancestral": ways},
        key=jax.random.key(0),
    )
    text = texts(figures[0])
    assert "100 validation images; start: noise, draws: 1, decoder: readout" in text and "mathdefault" not in text
    accuracy, top, nll, calibration = figures[0].axes
    assert [t.get_text() for t in accuracy.get_xticklabels()] == ["1", "2", "4", "8"]
    assert top.get_ylim()[0] > 0.85 > accuracy.get_ylim()[0]
    assert [len(axis.lines[0].get_xdata()) for axis in figures[0].axes] == [4, 4, 3, 4]  # no infinite likelihood
    assert "likelihood" in nll.get_ylabel() and "calibration" in calibration.get_ylabel()


def test_every_model_has_its_ways_by_cost(saved):
    ct = load_model(saved)[0]
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 2, 2, width=4, key=key), 3, key=jax.random.key(0))
    dt = no.NoPropDT(blocks, embedding=no.OneHot(2))
    fm = no.NoPropFM(blocks.block(0), embedding=no.OneHot(2))
    assert list(_cost.ways_by_cost(ct)) == ["Euler", "Heun", "DDIM", "ancestral", "DDIM, denoiser", "the default"]
    assert list(_cost.ways_by_cost(fm)) == ["Euler", "Heun", "the default"]
    of_blocks = _cost.ways_by_cost(dt)["first blocks, averaged"]
    assert [how.decoder.num_evaluations for how in of_blocks] == [1, 2, 3]


@pytest.mark.parametrize("classes", [2, 10, 100, 300])
def test_a_confusion_matrix_of_any_size_can_be_read(saved, classes, figures, tmp_path, monkeypatch, tiny_images):
    names = tuple(f"name {i}" for i in range(classes))
    test = tiny_images((2, 2, 1), names, count=2 * classes)
    predicted = test.labels.copy()
    predicted[0] = 1
    monkeypatch.setattr(_confusion, "predict", lambda *args, **how: predicted)
    plot_confusion(tmp_path / "a.png", load_model(saved)[0], test, key=jax.random.key(0))
    text = texts(figures[0])
    assert "name 0 → name 1" in text and f"{2 * classes} images" in text
    if classes <= 100:
        assert f"\nname {classes - 1}\n" in text
        assert min(t.get_fontsize() for t in figures[0].axes[0].get_yticklabels()) >= 5
    if classes <= 10:
        assert figures[0].axes[0].texts


def test_the_confusion_matrix_counts():
    matrix = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), 3)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


@pytest.mark.plots
def test_plots_of_a_run(saved, tmp_path, call_script):
    code, out, err = call_script(
        "plot", saved, "--out", tmp_path / "new", "--only", "learning", "schedule", "trajectories", "prototypes",
        "confusion", "--images", 0, 5, "--format", "svg",
    )  # fmt: skip
    assert code == 0, err
    names = ["learning_curve.svg", "schedule.svg", "probabilities.svg", "confusion.svg"]
    assert out.split() == [str(tmp_path / "new" / name) for name in names]
    assert all(b"<svg" in (tmp_path / "new" / name).read_bytes() for name in names)
    assert "drawing probabilities.svg" in err


def test_plots_of_a_run_without_metrics_and_of_a_block(saved, tmp_path, call_script, monkeypatch):
    from noprop_ode.experiment.report import _plot_runs

    monkeypatch.setattr(_plot_runs, "ways_by_cost", lambda model: {"the default": [model.default_prediction]})
    joined = shutil.copytree(saved, tmp_path / "joined")
    (joined / "metrics.jsonl").unlink()
    code, _, err = call_script("plot", joined, "--only", "learning")
    assert code == 2 and "no metrics" in err
    kinds = [path.stem for path in plot_runs([joined], tmp_path / "plots")]
    assert "learning_curve" not in kinds and "confusion" in kinds
    blocks = {"variant": {"type": "dt", "num_blocks": 2}}
    config = Config.from_plain({**SETTINGS, "model": {**SETTINGS["model"], **blocks}, "training": {"one_block": 1}})
    alone = save_run(tmp_path / "alone", config=config)
    kinds = [path.stem for path in plot_runs([alone], tmp_path / "plots")]
    assert kinds == ["learning_curve", "confusion"]
    code, _, err = call_script("evaluate", alone, "--draws", "8")
    assert code == 2 and "trained one block, which predicts in one way alone" in err
    assert call_script("plot", tmp_path / "typo")[0] == 2 and not (tmp_path / "typo").exists()


def test_the_folder_of_several_seeds_stands_for_its_runs(tmp_path, monkeypatch, call_script):
    from noprop_ode.experiment.report import _plot_runs

    for seed in (0, 2, 10):
        save_run(tmp_path / "a" / f"seed{seed}")
    drawn = []
    monkeypatch.setattr(_plot_runs, "plot_learning_curves", lambda path, records, **how: drawn.append(list(records)))
    code, out, err = call_script("plot", tmp_path / "a", "--only", "learning")
    assert code == 0 and out.strip() == str(tmp_path / "a" / "learning_curve.png"), err
    assert drawn == [["seed0", "seed2", "seed10"]]


def test_what_cannot_be_plotted_is_said(saved, tmp_path, call_script):
    for flags, message in (
        ((saved, "--only", "trajectories", "--images", 5000), "no image 5000 in digits/test"),
        ((tmp_path, "--only", "learning"), "no metrics"),
        ((save_run(tmp_path / "b", names=tuple("9876543210")), "--only", "confusion"), "class 0 was '9', and is '0'"),
        (
            (save_run(tmp_path / "c", names=tuple("012345678")), "--only", "confusion"),
            "9 classes, but digits/test has 10",
        ),
        ((save_run(tmp_path / "d", shape=(4, 4, 1)), "--only", "cost"), "images of [4, 4, 1]"),
    ):
        code, _, err = call_script("plot", *flags)
        assert code == 2 and message in err and "Traceback" not in err


@pytest.mark.parametrize("index", [-1, 6])
def test_a_trajectory_of_no_image_is_refused(index, saved, tmp_path, tiny_images):
    test = tiny_images((8, 8, 1), ("a", "b"), count=6)
    with pytest.raises(no.RunError, match=f"no image {index} in .*; its 6 images are numbered from 0 to 5"):
        plot_trajectories(tmp_path / "a.png", load_model(saved)[0], test, key=jax.random.key(0), indices=[0, index])
    assert not (tmp_path / "a.png").exists()


def test_the_cost_is_drawn_on_the_validation_split(saved, tmp_path, monkeypatch):
    from noprop_ode.experiment.report import _plot_runs

    seen = []
    monkeypatch.setattr(
        _plot_runs, "plot_cost", lambda path, model, images, ways, **how: seen.append((images.name, how["split"]))
    )
    for split in (None, "test"):
        list(plot_runs([str(saved)], str(tmp_path), kinds=("cost",), split=split))  # paths as text
    assert seen == [("digits/validation", "validation"), ("digits/test", "test")]
