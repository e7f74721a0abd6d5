"""The results page says what the results files say."""

import importlib.util
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name, mark", [("variants", ".jsonl -->"), ("study", "<!-- table: study -->")])
def test_the_tables_are_made_from_the_files(name, mark):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "results.md").read_text()
    assert mark in text
    assert module.page(text) == text
