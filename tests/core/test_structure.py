"""The shape of the package: abstract-or-final classes, documented names, a light import, short files."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import pytest

import noprop_ode as no


ROOT = Path(no.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TESTS = sorted(Path(__file__).parents[1].rglob("*.py"))
CORE = [path for path in FILES if path.relative_to(ROOT).parts[0] not in ("data", "experiment", "sklearn")]


def core_modules():
    yield no
    for info in pkgutil.walk_packages(no.__path__, "noprop_ode."):
        if info.name.split(".")[1] not in ("data", "experiment", "sklearn"):
            yield importlib.import_module(info.name)


def ours(cls):
    return cls.__module__.split(".")[0] == "noprop_ode"


CLASSES = sorted(
    {
        value
        for module in core_modules()
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, eqx.Module) and ours(value)
    },
    key=lambda cls: cls.__qualname__,
)


def is_abstract(cls):
    variables = getattr(cls, "__abstractvars__", ()) or getattr(cls, "__abstractclassvars__", ())
    return inspect.isabstract(cls) or bool(variables)


def concrete_methods(cls):
    """Names of the methods and properties that a class itself defines; Python and Equinox write the other dunders."""
    for name, value in vars(cls).items():
        if name == "__call__" or not name.startswith("__"):
            if (callable(value) or isinstance(value, property)) and name not in cls.__abstractmethods__:
                yield name


def violations(classes):
    """What breaks the rule: concrete classes with subclasses, and concrete methods overridden."""
    for cls in classes:
        for base in cls.__mro__[1:]:
            if base in classes and not is_abstract(base):
                yield f"{cls.__name__} inherits from the concrete {base.__name__}"
            if base in classes:
                for name in set(concrete_methods(cls)) & set(concrete_methods(base)):
                    yield f"{cls.__name__} overrides {base.__name__}.{name}"


def test_classes_are_abstract_or_final():
    assert len(CLASSES) > 30
    assert list(violations(CLASSES)) == []


def test_the_names_of_abstract_classes_say_so():
    for cls in CLASSES:
        assert cls.__name__.lstrip("_").startswith("Abstract") == is_abstract(cls), cls.__name__


def test_the_walker_sees_a_violation():
    class Concrete(no.AbstractTimes):
        def quantile(self, level):
            return level

    class Sub(Concrete):
        def quantile(self, level):
            return level

    assert list(violations([no.AbstractTimes, Concrete])) == []
    assert list(violations([Concrete, Sub])) == [
        "Sub inherits from the concrete Concrete",
        "Sub overrides Concrete.quantile",
    ]


def public(namespace):
    return {name: value for name, value in vars(namespace).items() if not name.startswith("_")}


NAMES = {
    f"{module.__name__}.{name}": value
    for module in (no, no.nn)
    for name, value in public(module).items()
    if not inspect.ismodule(value)
}


def undocumented(cls):
    """Public methods and properties of a class with no docstring, neither their own nor that of a base class."""
    for name, method in vars(cls).items():
        if (name == "__call__" or not name.startswith("_")) and not inspect.isclass(method):
            if (callable(method) or isinstance(method, property)) and not inspect.getdoc(method):
                yield name


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_docstrings(name):
    value = NAMES[name]
    doc = inspect.getdoc(value) or ""
    assert doc and not doc.startswith(f"{value.__name__}("), "a dataclass signature is no documentation"
    if inspect.isclass(value):
        assert list(undocumented(value)) == []


class Undocumented(no.AbstractTimes):
    def quantile(self, level):
        return level

    def median(self):
        return self.quantile(0.5)

    @property
    def mean(self):
        return 0.5


def test_a_docstring_may_be_inherited_but_must_be_there():
    assert list(undocumented(Undocumented)) == ["median", "mean"]


def test_nothing_else_is_public():
    modules = {name for name, value in public(no).items() if inspect.ismodule(value)}
    assert modules <= {"nn", "data", "experiment", "sklearn"}
    assert all(ours(value) for value in NAMES.values())


def test_the_core_imports_nothing_but_its_dependencies():
    heavy = ["sklearn", "tensorflow_datasets", "matplotlib", "tqdm", "tyro", "PIL", "pandas", "tensorflow", "torch"]
    ours = ["noprop_ode.data", "noprop_ode.experiment", "noprop_ode.sklearn"]
    code = f"import sys, noprop_ode; print([m for m in {heavy + ours} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.parent, check=True, timeout=300)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: "/".join(path.parts[-3:]))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_keeps_to_its_own_rules(path):
    """No `super()`, no `hasattr`, and no postponed annotations, which would hide shapes from the checker."""
    tree = ast.parse(path.read_text())
    errors = {node for top in tree.body if getattr(top, "name", "").endswith("Error") for node in ast.walk(top)}
    nodes = set(ast.walk(tree)) - errors  # an exception must call the `__init__` of its base
    calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"super", "hasattr"}
    assert not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in ast.walk(tree))
