"""The results page says what the results files say."""

import importlib.util
from pathlib import Path


ROOT = Path(__file__).parents[2]


def test_the_tables_are_made_from_the_files():
    spec = importlib.util.spec_from_file_location("variants", ROOT / "benchmarks" / "variants.py")
    variants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(variants)
    text = (ROOT / "docs" / "results.md").read_text()
    assert text.count(".jsonl -->") >= 1
    assert variants.page(text) == text
