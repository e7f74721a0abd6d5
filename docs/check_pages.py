"""Looks at every page of the built site in a headless Chromium: 1400 and 390 pixels wide, light and dark, offline.

    mkdocs build --strict && python docs/check_pages.py site

Needs `pip install playwright` and a Chromium, that of `playwright install chromium` or the one named by `--chromium`.
It is no part of the tests. It reports errors of the console, mathematics that was not rendered, pages wider than the
window, images and links that lead nowhere, and requests that leave the site; `--shots FOLDER` keeps a picture of every
page.
"""

import argparse
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


WIDTHS = (1400, 390)
SCHEMES = ("light", "dark")
# What is seen of a page from inside of it.
LOOK = """() => ({
    width: document.documentElement.scrollWidth,
    window: window.innerWidth,
    unrendered: [...document.querySelectorAll('.arithmatex')].filter(e => !e.querySelector('.katex')).length,
    wrong: document.querySelectorAll('.katex-error').length,
    images: [...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.src),
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
    scheme: document.body.getAttribute('data-md-color-scheme'),
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
})"""


def look(
    browser: Any, page_file: Path, width: int, scheme: str, shots: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """What one page shows at one width, and what is wrong with it there."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
    page.on(
        "request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(f"asks {r.url}")
    )
    page.goto(page_file.as_uri())
    page.wait_for_load_state("load")
    page.wait_for_timeout(300)  # mathematics is rendered after the page was loaded
    seen = page.evaluate(LOOK)
    if seen["width"] > seen["window"]:
        wrong.append(f"{seen['width']} pixels wide in a window of {seen['window']}")
    if seen["unrendered"] or seen["wrong"]:
        wrong.append(f"mathematics: {seen['unrendered']} not rendered, {seen['wrong']} with errors")
    if (seen["scheme"] == "slate") != (scheme == "dark"):
        wrong.append(f"scheme {seen['scheme']} where {scheme} was asked for")
    wrong += [f"no image {source}" for source in seen["images"]]
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
        name = "-".join(page_file.with_suffix("").parts[-2:])
        page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)
    context.close()
    return seen, wrong


def broken_links(links: set[str], ids: dict[Path, set[str]]) -> list[str]:
    """Links to files that are not there, or to places that a page does not have; those to other sites are left."""
    found = []
    for link in sorted(links):
        parts = urlsplit(link)
        if parts.scheme != "file":
            continue
        path = Path(unquote(parts.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            found.append(f"link to {link}: no such file")
        elif parts.fragment and path in ids and unquote(parts.fragment) not in ids[path]:
            found.append(f"link to {link}: no such place on that page")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("site", type=Path, nargs="?", default=Path("site"), help="the built site")
    parser.add_argument("--only", default="*.html", help="pages whose name matches")
    parser.add_argument("--chromium", help="the program, if not the one of playwright")
    parser.add_argument("--shots", type=Path, help="keep a picture of every page here")
    arguments = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("This check needs a browser: pip install playwright && playwright install chromium.")
        return 2
    pages = [p for p in sorted(arguments.site.resolve().rglob(arguments.only)) if p.name != "404.html"]
    problems = 0
    links: dict[Path, set[str]] = {}
    ids: dict[Path, set[str]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--allow-file-access-from-files"]
        )
        for file in pages:
            for width in WIDTHS:
                for scheme in SCHEMES:
                    seen, wrong = look(browser, file, width, scheme, arguments.shots)
                    links[file], ids[file] = set(seen["links"]), set(seen["ids"])
                    problems += len(wrong)
                    for what in wrong:
                        print(f"{file.relative_to(arguments.site.resolve())}, {width} {scheme}: {what}", flush=True)
        browser.close()
    for file in pages:
        for what in broken_links(links[file], ids):
            problems += 1
            print(f"{file.relative_to(arguments.site.resolve())}: {what}")
    print(f"{len(pages)} pages, {len(WIDTHS) * len(SCHEMES)} ways each: {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
