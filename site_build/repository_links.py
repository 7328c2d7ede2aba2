"""Links of pages to files of the repository outside `docs`, which the site takes in beside the pages."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).parents[1]
DOCS = "docs"
# Pages of the site that lie elsewhere in the repository.
OUTSIDE = ("results/README.md", "CHANGELOG.md")
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
# What stands for a folder that a page links to.
OF_FOLDERS = ("README.md", "result.json", "plan.json")


@cache
def linked_files() -> dict[str, Path]:
    """Path in the site -> file, for the pages outside `docs` and all files that pages link to there."""
    found = {path: REPOSITORY / path for path in OUTSIDE}
    waiting = [*(REPOSITORY / DOCS).rglob("*.md"), *found.values()]
    while waiting:
        page = waiting.pop()
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = target_of(page, match[2])
            if not target.is_file() or target.is_relative_to(REPOSITORY / DOCS):
                continue
            path = _in_site(target)
            # Pages that a page links to may link further.
            if path not in found and target.suffix == ".md":
                waiting.append(target)
            found[path] = target
    return found


def with_site_links(markdown: str, path: str) -> str:
    """A page's links, from places in the repository to places in the site.

    Args:
        markdown: of the page.
        path: of the page in the site.
    """
    page = REPOSITORY / DOCS / path
    if path in linked_files():
        page = linked_files()[path]
    elif not page.is_file():
        return markdown  # made from the code: its links are those of the site already

    def in_site(match: re.Match[str]) -> str:
        target = target_of(page, match[2])
        if not target.is_relative_to(REPOSITORY) or not target.exists():
            return match[0]  # strict builds complain of it
        place = os.path.relpath(_in_site(target), PurePosixPath(path).parent)
        if target.suffix == ".ipynb":
            place = place.removesuffix(".ipynb") + ".md"
        return f"{match[1]}{place}{match[3] or ''}{match[4]}"

    return LINK.sub(in_site, markdown)


def target_of(page: Path, link: str) -> Path:
    """The file that a link of a page leads to, where it is one; one of its files for a folder."""
    target = Path(os.path.normpath(page.parent / link))
    if not target.is_dir():
        return target
    for name in OF_FOLDERS:
        if (target / name).is_file():
            return target / name
    return target


def _in_site(target: Path) -> str:
    """Where a file of the repository lies in the site: `docs` is its root."""
    path = target.relative_to(REPOSITORY).as_posix()
    return path.removeprefix(f"{DOCS}/")
