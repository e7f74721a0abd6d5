"""docs/results.md: its tables, from the records of what was run."""

from pathlib import Path

from noprop_ode._training.files import write_file
from noprop_ode.experiment import reproduce_command

from . import _accuracy_goals, blocks, dt_ensemble, memory, study, variants
from ._record import RESULTS, ROOT


PAGE = ROOT / "docs" / "results.md"
FIGURES = ROOT / "docs" / "_static" / "results"
RECORDS = RESULTS / "table.jsonl"
PARTS = (_accuracy_goals, blocks, dt_ensemble, memory, study, variants)


def made(text: str) -> str:
    """The page with every table made anew, but those that `noprop-ode reproduce page` makes."""
    for part in PARTS:
        text = part.page(text)
    return text


def write_results(page: Path = PAGE, records: Path = RECORDS, figures: Path = FIGURES) -> None:
    """Writes the tables and figures of the page from the records that are kept."""
    reproduce_command(["page", "--records", str(records), "--page", str(page), "--figures", str(figures)])
    write_file(page, made(page.read_text(encoding="utf-8")).encode())
