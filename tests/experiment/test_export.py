"""A model as an artefact, and the other scripts on a saved run."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from runs import SETTINGS, save_run

import noprop_ode as no
from noprop_ode.experiment import Config, ConfigError, console, evaluation_key, export_model, load_model


def test_an_exported_model_needs_jax_alone(saved, digits, tmp_path):
    _, difference = export_model(str(saved), str(tmp_path), platforms=["cpu"])  # paths as text
    assert difference < 1e-5
    images = digits.test.images[:5]
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, *rest):\n"
        "        assert not name.startswith(('noprop_ode', 'equinox', 'diffrax')), name\n"
        "sys.meta_path.insert(0, Block())\n"
        "import jax.export, numpy as np\n"
        "f = jax.export.deserialize(bytearray(open('model.jax_export', 'rb').read())).call\n"
        "np.save('found.npy', f(np.load('images.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    model, config, spec = load_model(saved)
    live = no.predict_log_proba(model, images, key=evaluation_key(config))
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), live, atol=1e-4)
    assert tuple(json.loads((tmp_path / "model.json").read_text())["class_names"]) == spec.class_names


def test_the_best_model_is_exported_beside_the_last(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "run")
    (folder / "checkpoints").mkdir()
    shutil.copy(folder / "model.safetensors", folder / "checkpoints" / "best.safetensors")
    for best in (False, True):
        export_model(folder, tmp_path / "out", platforms=["cpu"], best=best)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"model.jax_export", "model.json", "model_best.jax_export", "model_best.json"}


def test_an_unknown_platform_is_one_line(saved, call_script):
    for platform, hint in (("nonsense", "Known are cpu"), ("gpu", "Use cuda or rocm"), ("cdua", "'cuda'")):
        code, _, err = call_script("export", saved, "--platforms", platform)
        assert code == 2 and hint in err and err.count("\n") == 1


def test_an_artefact_that_differs_is_not_written(saved, tmp_path, monkeypatch):
    from noprop_ode.experiment.report import _export

    monkeypatch.setattr(_export, "predict_log_proba", lambda *args, **how: np.zeros((100, 10), np.float32))
    with pytest.raises(no.RunError, match="would differ"):
        export_model(saved, tmp_path / "out", platforms=["cpu"])
    assert not (tmp_path / "out").exists()


def test_an_evaluation_of_ones_own(saved, call_script):
    code, out, _ = call_script("evaluate", saved, *"--sampler ddim --steps 2 --start noise --json --confusion".split())
    found = json.loads(out)
    assert code == 0 and found["protocols"]["default"]["nfe"] == 2 and np.sum(found["confusion"]) == 359
    assert found["split"] == "test" and found["class_names"] == list("0123456789")
    code, out, err = call_script("evaluate", saved, *"--split validation --confusion".split())
    assert err == "evaluating: default ...\n"
    assert code == 0 and out.splitlines()[-1].startswith("validation_accuracy=")
    for flags, message in (("--sampler dim", "'ddim'"), ("--steps 2", "belong to a --sampler")):
        code, _, err = call_script("evaluate", saved, *flags.split())
        assert code == 2 and message in err and err.count("\n") == 1


def test_the_commands_of_an_installed_package(saved, digits, tmp_path, capsys):
    """`noprop-ode NAME` needs no clone: the scripts of experiments/ are these very functions."""
    console(["evaluate", str(saved), "--json"])
    assert json.loads(capsys.readouterr().out)["protocols"]["default"]["nfe"] == 1
    Image.fromarray(digits.test.images[0].squeeze()).save(tmp_path / "a.png")
    console(["predict", str(saved), str(tmp_path), "--format", "csv", "--top", "1"])
    assert capsys.readouterr().out.startswith("file,rank,class,probability\n")
    console(["plot", str(saved), "--out", str(tmp_path), "--only", "schedule"])
    assert (tmp_path / "schedule.png").read_bytes().startswith(b"\x89PNG")
    console(["export", str(saved), "--out", str(tmp_path), "--platforms", "cpu"])
    assert "greatest difference to the live model" in capsys.readouterr().out
    assert (tmp_path / "model.jax_export").exists()


def test_an_evaluation_on_other_data_is_refused(tmp_path, call_script):
    for names, shape, message in (
        (tuple("9876543210"), (8, 8, 1), "class 0 was '9', and is '0'"),
        (tuple("01234"), (8, 8, 1), "5 classes, but digits/test has 10"),
        (tuple("0123456789"), (8, 8, 3), "images of [8, 8, 3]"),
    ):
        code, _, err = call_script(
            "evaluate", save_run(tmp_path / str(len(names)) / str(shape), names=names, shape=shape)
        )
        assert code == 2 and message in err and err.count("\n") == 1


def test_images_of_another_size_are_refused_before_they_are_made(tmp_path, call_script):
    large = Config.from_plain({**SETTINGS, "data": {"name": "digits", "image_size": [4096, 4096]}})
    code, _, err = call_script("evaluate", save_run(tmp_path / "a", config=large))
    assert code == 2 and "brings images to [4096, 4096], but its model was trained on [8, 8, 1]" in err
    with pytest.raises(ConfigError, match=r"image_size: expected a list of 2"):
        large.replace(data={"image_size": [4097, 8]})


@pytest.mark.parametrize("script", ["evaluate", "plot", "export", "predict"])
def test_a_run_of_somebody_elses_is_only_data(script, tmp_path, call_script):
    """Its imports run with `--trust-imports` alone."""
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    folder = save_run(tmp_path / "run")
    content = (folder / "model.safetensors").read_bytes()
    config = Config.from_plain(SETTINGS)
    plain = config.to_plain() | {"imports": [str(tmp_path / "evil.py")]}
    model, _, spec = load_model(folder)
    import dataclasses

    no.save_arrays(folder / "model.safetensors", model, {"config": plain, "data": dataclasses.asdict(spec)})
    assert content != (folder / "model.safetensors").read_bytes()
    rest = {"plot": ["--only", "schedule"], "predict": [tmp_path / "none.png"]}.get(script, [])
    code, _, err = call_script(script, folder, *rest)
    assert code == 2 and "import" in err and not (tmp_path / "ran").exists()
    if script == "plot":
        assert call_script(script, folder, *rest, "--trust-imports")[0] == 0 and (tmp_path / "ran").exists()
