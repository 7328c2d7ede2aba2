"""What the site's builder calls: pages made from the code, links out of `docs`, equations, notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command_pages import command_pages
from equations import with_equations
from format_pages import format_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebook_pages import notebook_pages
from python_pages import python_pages
from repository_links import linked_files, with_site_links

# Folder of the navigation -> what makes its pages: path in the site -> Markdown.
MADE = {"lookup/commands/": command_pages, "lookup/python/": python_pages, "lookup/formats/": format_pages}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that are made in the place of their folder in the navigation; add new explanations."""
    config.nav = _expanded(config.nav)
    (know,) = [entry["Know"] for entry in config.nav if "Know" in entry]
    # An explanation that nobody has given a place yet stands behind the others.
    named = set(_named(config.nav))
    know += sorted(page.name for page in Path(config.docs_dir).glob("*.md") if page.name not in named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files of the repository that pages link to."""
    for make in (*MADE.values(), notebook_pages):
        for path, markdown in make().items():
            files.append(File.generated(config, path, content=markdown))
    for path, source in linked_files().items():
        files.append(File.generated(config, path, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links as they are in the site."""
    return with_site_links(markdown, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Equations as MathML, which browsers draw by themselves."""
    return with_equations(html)


def _expanded(nav: Any) -> Any:
    """The navigation, with each folder of made pages as the list of these."""
    if isinstance(nav, dict):
        return {title: _expanded(inside) for title, inside in nav.items()}
    if not isinstance(nav, list):
        return _pages_of(nav)
    entries = []
    for entry in nav:
        found = _expanded(entry)
        if isinstance(entry, str) and entry in MADE:
            entries += found
        else:
            entries.append(found)
    return entries


def _named(nav: Any) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(nav, str):
        yield nav
        return
    inside = nav.values() if isinstance(nav, dict) else nav
    for entry in inside:
        yield from _named(entry)


def _pages_of(entry: Any) -> Any:
    if entry in MADE:
        return list(MADE[entry]())
    return entry
