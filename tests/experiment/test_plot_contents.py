"""Plots of learning and of probabilities: what they say."""

import sys

import numpy as np
import pytest
from figure_texts import texts
from runs import SETTINGS

import noprop_ode as no
from noprop_ode.experiment.report import _learning
from noprop_ode.experiment.report._canvas import new_figure
from noprop_ode.experiment.report._groups import group_runs
from noprop_ode.experiment.report._learning import plot_learning_curves
from noprop_ode.experiment.report._probabilities import Chosen, _draw as draw_probabilities, choose


ODD = (r"$a^b", "$x$", "\x1b[31mred\x1b[0m", "a\\b_{c", "", "ü" * 80)


class TestLearningCurves:
    def records(self, **constant):
        found = [{"kind": "train", "step": s, "loss": 1 / s, "denoising": 1 / s, **constant} for s in range(1, 21)]
        return found + [
            {"kind": "validation", "step": s, "epoch": s // 5, "accuracy": 0.5, "nll": 0.7} for s in (5, 10, 15, 20)
        ]

    def test_axes_titles_and_the_constant_prior(self, figures, tmp_path):
        records = self.records(prior=0.003, readout=-0.0, learning_rate=0.1)
        plot_learning_curves(
            tmp_path / "a.png", {"a": records}, settings={"a": SETTINGS | {"model": {"variant": "ct"}}}
        )
        loss, accuracy, nll, rate = figures[0].axes
        assert loss.get_xlabel() == "epoch" and loss.get_ylabel() == "loss" and loss.get_yscale() == "log"
        assert max(max(line.get_xdata(), default=0) for line in loss.lines) == 4.0
        drawn = [line for line in loss.lines if len(line.get_xdata())]
        assert all(line.get_label() == "denoising" or line.get_label().startswith("_") for line in drawn)
        assert "prior 0.003, constant" in texts(figures[0]) and "digits" in texts(figures[0])
        assert accuracy.get_title() == "validation accuracy" and nll.get_ylabel() == "NLL (nats)"
        assert rate.get_title() == "learning rate" and len(rate.lines) == 1
        assert "mathdefault" not in texts(figures[0])

    def test_runs_that_differ_in_their_seed_alone_are_one_curve(self, figures, tmp_path):
        def settings(width, seed):
            return {
                "model": {"field": {"type": "mlp", "width": width}},
                "training": {"seed": seed},
                "output": {"dir": seed},
            }

        runs = {"a": settings(8, 0), "b": settings(8, 1), "c": settings(16, 0), "d": settings(8, 2)}
        assert group_runs(runs) == {"width=8 (mean ± s.d. of 3 seeds)": ["a", "b", "d"], "width=16": ["c"]}
        plot_learning_curves(tmp_path / "a.png", dict.fromkeys(runs, self.records()), settings=runs)
        loss = figures[0].axes[0]
        assert len(loss.collections) == 1 and "width=16" in texts(figures[0])
        alike = {name: runs[name] | {"data": {"name": "digits"}} for name in ("a", "b", "d")}
        assert group_runs(alike) == {"mean ± s.d. of 3 seeds": ["a", "b", "d"]}
        plot_learning_curves(tmp_path / "b.png", dict.fromkeys(alike, self.records()), settings=alike)
        assert "digits · mlp · 3 runs" in texts(figures[1])

    def test_equal_runs_keep_their_names(self):
        assert group_runs({"a": SETTINGS, "b": SETTINGS}) == {"a": ["a"], "b": ["b"]}
        assert group_runs({"a": {}, "b": {}}) == {"a": ["a"], "b": ["b"]}

    def test_of_a_step_made_twice_the_last_counts_and_nonsense_is_left_out(self):
        records = [
            *({"kind": "train", "step": s, "loss": 9.0} for s in (1, 2, 3)),
            {"kind": "train", "step": 2, "loss": 1.0},
            {"kind": "train", "step": "x", "loss": 1.0},
            {"kind": "train", "step": 4, "loss": float("nan")},
            {"kind": "train", "step": 5, "loss": "1"},
            {"kind": "train"},
        ]
        steps, values = _learning._series(records, "train", "loss")
        assert steps.tolist() == [1, 2, 3] and values.tolist() == [9, 1, 9]

    @pytest.mark.parametrize("records", [[], [{"kind": "train", "step": 1, "loss": 1.0, "denoising": 1.0}]])
    def test_few_records_are_drawn(self, records, tmp_path):
        plot_learning_curves(tmp_path / "a.svg", {"a": records})
        assert b"<svg" in (tmp_path / "a.svg").read_bytes()


class TestProbabilities:
    def test_images_are_chosen_sure_torn_and_wrong(self):
        ps = np.array([[0.9, 0.1], [0.01, 0.99], [0.48, 0.52], [0.2, 0.8], [0.97, 0.03], [0.6, 0.4]])
        found = choose(ps, np.array([0, 1, 1, 0, 0, 0]))
        assert [(c.position, c.why) for c in found] == [
            (1, "sure"), (4, "sure"), (2, "torn"), (5, "torn"), (3, "wrong"),
        ]  # fmt: skip
        assert choose(np.array([[1.0]]), np.array([0])) == [Chosen(0, "sure")]

    def test_a_hundred_classes_have_colours_of_their_own(self, figures, tmp_path, tiny_images):
        names = tuple(f"class {i}" for i in range(100))
        test = tiny_images((4, 4, 3), names, count=100)
        along = np.full((2, 11, 100), 0.2 / 95)
        along[:, :, [3, 13, 23, 33, 0]] = 0.16
        ps = np.eye(100)[[0, 13]]
        draw_probabilities(
            tmp_path / "a.png", test, [Chosen(0, "sure"), Chosen(1, "wrong")], ps, np.linspace(0, 1, 11), along
        )
        for panel in figures[0].axes[2:4]:
            colors = [line.get_color() for line in panel.lines if not line.get_label().startswith("_")]
            assert len(colors) >= 5 and len(set(colors)) == len(colors)
        assert "true: class 1\npredicted: class 13 100%" in texts(figures[0])


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(no.RunError, match=r"A plot needs matplotlib.*noprop_ode\[experiments\]"):
        new_figure(1, 1)
