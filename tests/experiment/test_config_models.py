"""Components of a user's own, files that stand on others, and what models are asked instead of their names."""

import itertools
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from settings import SPEC, parse

import noprop_ode as no
from noprop_ode.experiment import (
    Config,
    ConfigError,
    build_learning_rate,
    build_model,
    build_optimiser,
    load_config,
    override,
    protocols,
    register,
)
from noprop_ode.experiment._data import describe
from noprop_ode.experiment._recipes import read_yaml


ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("standard_promotion")


class TestRegister:
    def test_the_example_of_the_documentation(self, tmp_path):
        page = (ROOT / "docs" / "experiments.md").read_text()
        for name in ("tiny.py", "mine.yaml"):
            (block,) = (b for b in re.findall(r"```(?:python|yaml)\n(.*?)```", page, re.DOTALL) if f"# {name}" in b)
            (tmp_path / name).write_text(block)
        with pytest.raises(ConfigError, match=r"mine.yaml imports '.*tiny.py', and that runs code.*--trust-imports"):
            load_config(tmp_path / "mine.yaml")
        config = load_config(tmp_path / "mine.yaml", trust_imports=True)
        assert Path(config.imports[0]).is_absolute()
        assert override(read_yaml(tmp_path / "mine.yaml"), [("width", 3)]).model.field.settings["width"] == 3
        # It learns, too.
        splits = no.data.load("digits")
        model = build_model(config, describe(splits.train))
        assert model.field.image.out_features == 128
        state = no.TrainState.create(model, build_optimiser(config, 100, model=model), key=jr.key(1))
        epochs = (no.data.batches(splits.train, 128, seed=0, epoch=epoch) for epoch in range(12))
        for state, metrics in no.train(state, itertools.chain.from_iterable(epochs)):
            pass
        found = no.evaluate(state.model, splits.validation.images, splits.validation.labels, key=jr.key(2))
        assert found.accuracy > 0.8

    def test_a_clash_or_a_setting_without_default_is_refused(self):
        with pytest.raises(ConfigError, match="registered already"):
            register("field", "conv")(lambda context: None)
        with pytest.raises(ConfigError, match="Did you mean 'field'"):
            register("feild", "x")

        def bad(context, *, width: int):
            return None

        with pytest.raises(ConfigError, match="'width' needs an annotation and a default"):
            register("field", "bad")(bad)


class TestBase:
    def test_a_file_changes_another_or_a_recipe(self, tmp_path):
        (tmp_path / "a.yaml").write_text(
            "base: mnist_ct\ntraining: {epochs: 9}\nmodel: {field: {width: 64}, times: uniform}"
        )
        (tmp_path / "b.yaml").write_text("base: a.yaml\nmodel: {field: {type: mlp}}\ntraining: {seed: 3}")
        a, b = (load_config(tmp_path / name) for name in ("a.yaml", "b.yaml"))
        assert (a.name, a.data.name.type, a.training.epochs, a.model.times.type) == ("a", "mnist", 9, "uniform")
        assert a.model.field.settings["width"] == 64 and a.model.field.settings["dropout"] == 0.0
        assert (b.training.epochs, b.training.seed, b.model.field.type) == (9, 3, "mlp")
        assert b.model.field.settings["width"] == 256, "another type starts from its own defaults"

    def test_a_section_of_comments_alone_takes_nothing_from_the_base(self, tmp_path):
        (tmp_path / "a.yaml").write_text("base: mnist_dt\nmodel:\n  # field: mlp\ndata:\ntraining: {epochs: 5}")
        a = load_config(tmp_path / "a.yaml")
        assert (a.model.variant.type, a.model.objective.type, a.data.name.type) == ("dt", "cross-entropy", "mnist")

    @pytest.mark.parametrize(
        ("base", "message"),
        [
            ("me.yaml", "no circle"),
            ("../above.yaml", "a file in the same folder"),
            ("/etc/passwd.yaml", "a file in the same folder"),
            ("link.yaml", "a file in the same folder"),
            ("'a\\0.yaml'", "cannot be read|same folder"),
            ("none.yaml", "cannot be read"),
            ("mnst_ct", "Did you mean .*'mnist_ct'"),
            ("[a]", "expected a file or the name"),
            ("deep0.yaml", "at most 5 files"),
        ],
    )
    def test_what_is_elsewhere_or_a_circle_is_refused(self, base, message, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        (tmp_path / "above.yaml").write_text("training: {epochs: 2}")
        (folder / "link.yaml").symlink_to(tmp_path / "above.yaml")
        for i in range(8):
            (folder / f"deep{i}.yaml").write_text(f"base: deep{i + 1}.yaml")
        (folder / "me.yaml").write_text(f"base: {base}")
        with pytest.raises(ConfigError, match=message):
            load_config(folder / "me.yaml")


class TestTheModelAnswers:
    """What a name is registered under means nothing."""

    def test_a_variant_of_a_users_own_that_returns_flow_matching(self):
        @register("variant", "own-flow")
        def own_flow(context, *, sigma: float = 0.0):
            return no.NoPropFM(context.build_field(), embedding=context.embedding, sigma=sigma)

        config = parse("--variant own-flow --field mlp --model.field.width 8")
        model = build_model(config, SPEC)
        assert list(protocols(config, model, SPEC)) == ["default", *model.protocols]
        assert "noise euler-10" in model.protocols

    @pytest.mark.parametrize("shared", ["", " --shared_learning_rate 1e-4"])
    def test_a_variant_of_a_users_own_that_returns_blocks(self, shared):
        @register("variant", "own-blocks")
        def own_blocks(blocks, embedding):
            return no.NoPropDT(blocks, embedding=embedding)

        config = parse("--variant own-blocks --field mlp --model.field.width 8 --clip 1e-3" + shared)
        model = build_model(config, SPEC)
        assert model.field.num_blocks == 10
        optimiser = build_optimiser(config, 10, model=model)
        weights = eqx.filter(model, no.trainable_mask(model))
        grads = jax.tree.map(jnp.ones_like, weights)
        # The gradient of one block a thousand times as large: under a common norm the others would hardly move.
        loud = eqx.tree_at(lambda m: m.field, grads, jax.tree.map(lambda g: g.at[0].multiply(1e3), grads.field))

        @jax.jit
        def other_blocks(grads):
            updates, _ = optimiser.update(grads, optimiser.init(weights), weights)
            return jax.tree.map(lambda u: u[1:], updates.field)

        assert eqx.tree_equal(other_blocks(grads), other_blocks(loud))

    def test_the_rate_of_a_block_spans_the_steps_that_it_takes_part_in(self):
        config = parse(
            "--variant dt --plan sampled-block --field mlp --model.field.width 8 --model.variant.num_blocks 4"
        )
        model = build_model(config, SPEC)
        logged = build_learning_rate(config, 400, model=model)
        whole = no.warmup_cosine(config.optimiser.learning_rate, 100)
        np.testing.assert_allclose([logged(n) for n in (0, 200, 399)], [whole(n) for n in (0, 50, 99)])
        weights = eqx.filter(model, no.trainable_mask(model))
        optimiser = build_optimiser(config, 400, model=model)
        state, grads = optimiser.init(weights), jax.tree.map(jnp.ones_like, weights)
        update = jax.jit(optimiser.update)
        for _ in range(101):  # of a block; the readout, which learns in every step, has three quarters before it
            updates, state = update(grads, state, weights)
        assert max(float(jnp.abs(u).max()) for u in jax.tree.leaves(updates.field)) == 0
        assert max(float(jnp.abs(u).max()) for u in jax.tree.leaves(updates.readout)) > 1e-4

    def test_a_weighting_of_nothing_is_refused(self):
        with pytest.raises(ConfigError, match=r"model\.weighting: nothing is denoised"):
            build_model(parse("--variant supervised --field mlp --weighting elbo"), SPEC)

    def test_a_class_is_its_own_schema(self):
        @register("field", "own-class")
        class Own(no.AbstractVectorField):
            linear: no.nn.Linear

            def __init__(self, image_shape, num_classes, label_dim, *, gain: float = 1.0, key):
                self.linear = no.nn.Linear(label_dim, num_classes, key=key)

            def encode(self, x, *, key=None):
                return jnp.asarray(x)

            def __call__(self, t, z, features):
                return self.linear(z)

        config = parse("--field own-class --gain 2")
        assert config.model.field.settings == {"gain": 2.0}
        assert isinstance(build_model(config, SPEC).field, Own)

    def test_no_registered_name_is_compared_in_code(self):
        for file in (ROOT / "noprop_ode").rglob("*.py"):
            assert not re.search(r"\.type (==|!=|in) |match .*\.type\b", file.read_text()), file


def test_imports_of_a_stranger_do_not_run(tmp_path):
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    (tmp_path / "config.yaml").write_text("imports: [evil.py]")
    for load in (
        lambda: load_config(tmp_path / "config.yaml"),
        lambda: Config.from_plain({"imports": ["antigravity"]}),
    ):
        with pytest.raises(ConfigError, match="runs code"):
            load()
    assert not (tmp_path / "ran").exists()
    (tmp_path / "metadata").mkdir()
    config = load_config(tmp_path / "config.yaml", trust_imports=True)
    assert (tmp_path / "ran").exists()
    assert config.replace(training={"epochs": 2}).imports == config.imports, "imported once, it needs no more trust"
