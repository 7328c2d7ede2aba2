"""Checks a built site: every link and anchor leads somewhere, and nothing is fetched from the network.

python site_build/check.py build/site
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes by which a page loads something while it is shown.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
# Relations of `link` that load nothing.
NAMED_ONLY = {"canonical", "prev", "next", "alternate", "author", "license"}
STYLES = re.compile(r"url\(\s*[\"']?(https?:)?//")


class _Page(HTMLParser):
    """The links, loaded files and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag leads to, loads or is called."""
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        loads = LOADED.get(tag)
        if loads in given and given.get("rel") not in NAMED_ONLY:
            self.loaded.add(given[loads])


def faults(site: Path) -> list[str]:
    """What is wrong with a site, a sentence each."""
    pages: dict[Path, _Page] = {}
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":
            continue  # shown from any place, with links from the root of a server
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        pages[path] = page
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for link in sorted(page.loaded):
            if urlsplit(link).scheme in ("http", "https") or link.startswith("//"):
                found.append(f"{name} loads {link} from the network")
        for link in sorted(page.links | page.loaded):
            fault = _broken(link, path, pages)
            if fault:
                found.append(f"{name}: {link} {fault}")
    for path in sorted(site.rglob("*.css")):
        if STYLES.search(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(site)} loads from the network")
    return found


def _broken(link: str, path: Path, pages: dict[Path, _Page]) -> str:
    """What is wrong with a link of a page; empty: nothing, or it leads elsewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = path
    if parts.path:
        target = (path.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "leads nowhere"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "leads to no such place of the page"
    return ""


def main() -> int:
    """Print all faults of the site that is named; 1 if there are any."""
    found = faults(Path(sys.argv[1]).resolve())
    print("\n".join(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
