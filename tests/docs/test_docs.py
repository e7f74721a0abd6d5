"""The documentation names everything that is public, and its code runs."""

import importlib
import re
import types
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import noprop_ode as no


ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("noprop_ode", "noprop_ode.nn", "noprop_ode.data", "noprop_ode.experiment", "noprop_ode.sklearn")
PAGES = [page for page in [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"] if page.parent.name != "api"]


def exported(source: str) -> set[str]:
    """What an `__init__.py` exports: the names it writes as `X as X`."""
    return {name for name, alias in re.findall(r"\b(\w+) as (\w+)", source) if name == alias and name[0] != "_"}


def public_names(package: str) -> set[str]:
    """Full names of what a package exports, submodules left out."""
    module = importlib.import_module(package)
    names = exported(Path(module.__file__).read_text())
    return {f"{package}.{name}" for name in names if not isinstance(getattr(module, name), types.ModuleType)}


def documented_names() -> list[str]:
    """The names that the reference pages show, in their order."""
    pages = sorted((DOCS / "api").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]


def code_blocks(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_its_place_in_the_reference(package):
    names = public_names(package)
    assert names, f"no public name found in {package}"
    missing = names - set(documented_names())
    assert not missing, f"add `::: name` to a page of docs/api for {sorted(missing)}"


def test_the_reference_shows_public_names_only_and_each_once():
    documented = documented_names()
    unknown = set(documented) - set().union(*map(public_names, PACKAGES))
    assert not unknown, f"docs/api shows what is not public: {sorted(unknown)}"
    assert len(documented) == len(set(documented))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_compile(page):
    for block in code_blocks(page):
        compile(block, str(page), "exec")


def test_the_reference_shows_what_a_method_inherits():
    griffe = pytest.importorskip("griffe")
    extensions = griffe.load_extensions(str(DOCS / "_griffe.py") + ":InheritDocstrings")
    package = griffe.load("noprop_ode", force_inspection=True, extensions=extensions)

    def text(name):
        return package[name].docstring.value

    assert text("OneHot.mix") == text("AbstractLabelEmbedding.mix")  # a method that says nothing
    assert text("ODE.stochastic") == text("AbstractSampler.stochastic")  # a property
    own, interface = text("NoPropCT.loss"), text("AbstractTimedModel.loss")  # the nearer of two base classes
    assert "weighted" in own and own.endswith(interface[interface.index("**Arguments:**") :])
    assert package["TrainState.__init__"].docstring is None  # what Python says about every `__init__`


@pytest.fixture
def quick_compilation():
    """Compiling is most of the time a page takes; unoptimised code runs fast enough for it."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def test_getting_started_runs(capsys, quick_compilation, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)  # where the page leaves its files
    page = DOCS / "getting-started.md"
    program, *blocks = [compile(block, str(page), "exec") for block in code_blocks(page)]
    namespace, again = {}, {}
    # As a user runs it: optax itself relies on implicit promotion.
    with jax.numpy_dtype_promotion("standard"):
        exec(program, namespace)
        exec(program, again)  # run again, it finds that it is through
        first, second = namespace["result"], again["result"]
        for block in blocks:
            exec(block, namespace)
    assert first.progress.epoch == 10
    assert second.progress == first.progress
    assert eqx.tree_equal(second.best_model, first.best_model)
    printed = capsys.readouterr().out
    accuracies = [float(a) for a in re.findall(r"accuracy=([\d.]+)", printed)]
    assert len(accuracies) == 2
    assert min(accuracies) > 0.8  # a tenth is chance


# Pages whose code has a test of its own, here or beside what they are about.
APART = {"getting-started.md", "devices.md", "experiments.md"}
# Pages that train or compile for longer than a test may; the strict checks run them all the same.
LONG = {
    *("sklearn.md", "neural_ode.md", "solvers.md", "pictures.md", "blocks.md", "inference.md", "transforms.md"),
    *("uncertainty.md", "fine_tuning.md", "own_network.md", "flax.md", "index.md"),
}
RUN = [
    pytest.param(page.relative_to(ROOT).as_posix(), marks=[pytest.mark.slow] if page.name in LONG else [])
    for page in PAGES
    if page.name not in APART and code_blocks(page)
]


def run_page(page, tmp_path, monkeypatch):
    """Runs the code of a page from top to bottom, as a user does: optax itself relies on implicit promotion."""
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    pytest.importorskip("matplotlib")
    if "from flax" in (ROOT / page).read_text():
        pytest.importorskip("flax", reason="the page is about a network of flax, which the dev extra brings")
    monkeypatch.chdir(tmp_path)  # where the page leaves its files
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in code_blocks(ROOT / page):
            if page == "README.md":
                block = block.replace("epochs=20,", "epochs=2,")
            exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize("page", RUN)
def test_a_page_runs(page, capsys, quick_compilation, tmp_path, monkeypatch):
    run_page(page, tmp_path, monkeypatch)
    accuracies = [float(a) for a in re.findall(r"accuracy[ =]([\d.]+)", capsys.readouterr().out)]
    if page != "README.md":  # whose epochs are cut short
        assert not accuracies or min(accuracies) > 0.8  # a tenth or a third is chance
    text = (ROOT / page).read_text()
    for figure in re.findall(r"figures/(\w+\.png)", text) if "savefig" in text else ():
        assert (tmp_path / figure).is_file(), f"{page} shows {figure} and does not draw it"


def test_every_figure_is_small_and_shown():
    text = "".join(page.read_text() for page in PAGES)
    for figure in (DOCS / "_static" / "figures").iterdir():
        assert figure.name in text, f"no page shows {figure.name}"
        assert figure.stat().st_size < 200_000


def test_the_variant_of_a_page_keeps_its_promise():
    """With a field that knows the class, every trajectory of it ends at the embedding."""
    from helpers import TrueClass, one_hot_image

    (page, *_) = code_blocks(DOCS / "how-to" / "write_variant.md")
    namespace = {}
    exec(compile(page, "write_variant.md", "exec"), namespace)
    model = namespace["StraightPaths"](TrueClass(), embedding=no.OneHot(3))
    features = model.field.encode(one_hot_image(1, 3))
    z0 = model.initial_state("noise", key=jax.random.key(0))
    end = no.ODE(diffrax.Euler(), steps=8).sample(model, z0, features, key=jax.random.key(1))
    assert jnp.allclose(end.z, model.embedding(jnp.asarray(1)), atol=1e-4)


@pytest.mark.slow
def test_the_page_on_devices_runs(quick_compilation):
    pytest.importorskip("sklearn")
    namespace = {}
    with jax.numpy_dtype_promotion("standard"):
        for block in code_blocks(DOCS / "devices.md"):
            exec(compile(block, "devices.md", "exec"), namespace)
    assert namespace["joined"].field.num_blocks == 2
    assert namespace["result"].progress.epoch == 1
