"""Predictions for anybody's image files."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from runs import save_run

import noprop_ode as no
from noprop_ode import RunError
from noprop_ode.experiment import FilePrediction, classify_files, evaluation_key, load_model
from noprop_ode.experiment.report import format_predictions, say
from noprop_ode.experiment.report._images import find_images, read_image


def save(path: Path, image: np.ndarray, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze()).save(path, **how)
    return path


def test_image_files(saved, digits, tmp_path):
    model, config, spec = load_model(saved)
    images = digits.test.images[:3]
    for i, name in enumerate(("0.png", "a/1.PNG", "a/b/2.tiff")):
        save(tmp_path / name, images[i])
    Image.fromarray(np.repeat(images[0], 3, axis=2)).resize((40, 30)).save(tmp_path / "z.jpg")
    save(tmp_path / ".hidden.png", images[0])
    (tmp_path / "notes.txt").write_text("no image")
    found = classify_files(model, config, spec, [str(tmp_path)], top=2)  # a path as text
    assert [Path(f.file).name for f in found] == ["0.png", "1.PNG", "2.tiff", "z.jpg"]
    expected = np.exp(no.predict_log_proba(model, images, key=evaluation_key(config)))
    for f, p in zip(found, expected):
        assert f.labels[0] == p.argmax() and f.probabilities[0] == pytest.approx(p.max(), rel=1e-5)
        assert f.classes[0] == spec.class_names[f.labels[0]]
    assert format_predictions(found, "csv").count("\n") == 8 and "%" in format_predictions(found, "table")


def test_a_corrupt_file_does_not_stop_the_others(saved, digits, tmp_path, call_script):
    save(tmp_path / "a.png", digits.test.images[0])
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "c.gif").write_bytes(b"nothing")
    save(tmp_path / "d.webp", np.repeat(digits.test.images[1], 3, axis=2))
    code, out, err = call_script("predict", saved, tmp_path)
    assert code == 1 and "a.png" in out and "d.webp" in out
    assert "b.png is not an image" in err and "c.gif is not an image" in err
    code, out, _ = call_script("predict", saved, tmp_path, "--format", "json")
    assert code == 1 and ["error" in f for f in json.loads(out)] == [False, True, True, False]


def test_what_cannot_be_classified_is_said(saved, tmp_path, call_script):
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    odd = save_run(tmp_path / "odd", shape=(8, 8, 5))
    for flags, message in (
        ((saved, tmp_path / "bad.png"), "not an image"),
        ((saved, tmp_path / "none.png"), "no file"),
        ((saved, tmp_path / "empty"), "no PNG or JPEG"),
        ((saved, tmp_path / "pipe.png"), "not a regular file"),
        ((odd, tmp_path / "bad.png"), "arrays of [8, 8, 5]"),
        ((saved, tmp_path / "bad.png", "--top", 0), "top=0"),
        ((saved, tmp_path / "bad.png", "--steps", 3), "belong to a --sampler"),
    ):
        code, _, err = call_script("predict", *flags)
        assert code == 2 and message in err and err.count("\n") == 1


def test_the_prediction_can_be_chosen(saved, digits, tmp_path, call_script):
    path = save(tmp_path / "a.png", digits.test.images[0])
    flags = "--sampler heun --steps 3 --start noise --draws 4 --decoder readout --format json --top 10".split()
    code, out, err = call_script("predict", saved, path, *flags)
    assert code == 0, err
    import diffrax

    model, config, _ = load_model(saved)
    how = no.Prediction("noise", no.ODE(diffrax.Heun(), steps=3), no.ReadoutDecoder(), 4)
    expected = np.exp(no.predict_log_proba(model, digits.test.images[:1], key=evaluation_key(config), prediction=how))[
        0
    ]
    for row in json.loads(out)[0]["classes"]:
        assert row["probability"] == pytest.approx(float(expected[row["label"]]), rel=1e-4)


def test_postscript_is_never_opened_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **how: pytest.fail("Ghostscript was started"))
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, format="EPS")
    for name in ("a.png", "a.jpg", "a.eps"):
        (tmp_path / name).write_bytes(content.getvalue())
        with pytest.raises(RunError, match="none of PNG, JPEG"):
            read_image(tmp_path / name, (8, 8, 3))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled(suffix, tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    save(tmp_path / f"a.{suffix}", values)
    found = read_image(tmp_path / f"a.{suffix}", (8, 8, 1))
    np.testing.assert_array_equal(found[:, :, 0], np.round(values / 257.0).astype(np.uint8))
    assert read_image(tmp_path / f"a.{suffix}", (8, 8, 3)).shape == (8, 8, 3)


def test_floating_point_is_scaled_from_0_to_1_or_refused(tmp_path):
    save(tmp_path / "a.tiff", np.full((8, 8), 0.5, np.float32))
    assert (read_image(tmp_path / "a.tiff", (8, 8, 1)) == 128).all()
    save(tmp_path / "a.tiff", np.full((8, 8), 50.0, np.float32))
    with pytest.raises(RunError, match=r"expected \[0, 1\]"):
        read_image(tmp_path / "a.tiff", (8, 8, 1))


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_read_as_those_that_a_model_is_trained_on(suffix, channels, tmp_path):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "a" / f"x{suffix}", rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    assert find_images(tmp_path) == [path]
    trained = no.data.from_folder(tmp_path, image_size=(4, 5), channels=channels, validation=0).train.images[0]
    np.testing.assert_array_equal(read_image(path, (4, 5, channels)), trained)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_kept_where_the_model_has_it(mode, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)).convert(mode)
    picture.save(tmp_path / "x.png")
    smaller = np.asarray(picture.resize((5, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", (4, 5, len(mode))), smaller)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_too_large_are_refused(tmp_path, monkeypatch):
    save(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 19)
    with pytest.raises(RunError, match="5x4 pixels, more than"):
        read_image(tmp_path / "a.png", (4, 5, 1))


def test_folders_behind_links_are_not_searched(tmp_path):
    save(tmp_path / "in" / "a.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert [p.name for p in find_images(tmp_path / "in")] == ["a.png"]


def test_equal_names_stay_apart_and_escapes_are_written_out():
    found = [FilePrediction("a\x1b[2J.png", ("cat", "cat", "\x1b[31m"), (0.5, 0.3, 0.2), (2, 0, 1))]
    rows = json.loads(format_predictions(found, "json"))[0]["classes"]
    assert [(r["class"], r["label"]) for r in rows] == [("cat", 2), ("cat", 0), ("\x1b[31m", 1)]
    for style in ("table", "csv", "json"):
        assert "\x1b" not in format_predictions(found, style)
    assert "a\\x1b[2J.png" in format_predictions(found, "table")
    broken = os.fsdecode(b"caf\xe9.png")  # a name that is not UTF-8
    format_predictions([FilePrediction(broken, ("a",), (1.0,), (0,))], "table").encode()


def test_an_output_without_the_letters_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(RunError, match=r"written as ascii, which has no '\\xe9'; set PYTHONIOENCODING=utf-8"):
        say("café")


def test_what_is_said_of_a_file_depends_on_no_other(saved, digits, tmp_path):
    """Where noise is drawn, too."""
    model, config, spec = load_model(saved)
    files = [save(tmp_path / f"{i}.png", digits.test.images[i]) for i in range(3)]
    config = config.replace(prediction={"start": "noise", "draws": 2})
    together = classify_files(model, config, spec, files)
    alone = classify_files(model, config, spec, files[2:])
    assert together[2] == alone[0] and alone[0].probabilities != together[1].probabilities
