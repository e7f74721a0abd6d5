"""Draws the figures of the documentation, by the code on its pages: `python docs/figures.py` in a clone."""

import os
import re
import shutil
import tempfile
from pathlib import Path


os.environ.setdefault("MPLBACKEND", "agg")
DOCS = Path(__file__).parent
FIGURES = DOCS / "_static" / "figures"
PAGES = [DOCS / "tutorials" / name for name in ("pictures.md", "uncertainty.md")]


def draw(page: Path, folder: Path) -> None:
    """Runs the code of a page in a folder, where it leaves its figures."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        namespace: dict[str, object] = {}
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            exec(compile(block, str(page), "exec"), namespace)
    finally:
        os.chdir(before)


def main() -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            draw(page, Path(folder))
            for figure in sorted(Path(folder).glob("*.png")):
                shutil.copy(figure, FIGURES / figure.name)
                print(f"{figure.name}: {figure.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
