"""What the files of the project say of it agrees."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import noprop_ode as no


ROOT = Path(__file__).parents[2]
if not (ROOT / "pyproject.toml").is_file():
    pytest.skip("the tests are outside of a checkout", allow_module_level=True)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_versions_agree():
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation is not None
    assert no.__version__ == PROJECT["version"] == citation[1]
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text()


def test_annotations_are_for_type_checkers():
    assert (Path(no.__file__).parent / "py.typed").is_file()


def test_every_dependency_has_a_least_version():
    extras = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *(each for extra in extras.values() for each in extra)]
    loose = [each for each in named if not re.search(r"noprop_ode\[|[<>=]=?\s*\d", each)]
    assert not loose, f"give {loose} a least version that the tests pass with"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}  # a job that needs more says so itself
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] == "ubuntu-latest", name
        for step in job["steps"]:
            for script in re.findall(r"\.ci/\w+", step.get("run", "")):
                assert (ROOT / script).stat().st_mode & 0o100, f"{script} cannot be run"


def test_python_versions_are_those_of_the_workflow():
    matrix = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]["newest"]["strategy"]
    versions = matrix["matrix"]["python"]
    said = [c.split(" :: ")[-1] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert versions == said
    assert PROJECT["requires-python"] == f">={versions[0]}"
