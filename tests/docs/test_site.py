"""What the site is made of beside its pages: commands, Python names, file formats, equations, links."""

from __future__ import annotations

from pathlib import Path

import pytest
from check import faults
from command_pages import command_pages
from equations import with_equations
from format_pages import FORMATS, format_pages, schema_of
from python_pages import python_pages
from repository_links import LINK, target_of, with_site_links

from common.browser import Opened, chromium
from rankfold import _NAMES, _ROOMS
from rankfold.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_a_page_with_all_its_options(command: str) -> None:
    page = command_pages()[f"lookup/commands/{command}.md"]
    choices = build_parser(command)._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for action in choices[command]._actions:  # type: ignore[index, call-overload]
        for option in action.option_strings:
            if option not in ("-h", "--help"):
                assert f"`{option}`" in page
    assert f"({command}.md)" in command_pages()["lookup/commands/index.md"]


def test_all_python_names_have_an_entry() -> None:
    pages = python_pages()
    for module, attribute, _ in _NAMES.values():
        assert f"::: rankfold.{module}.{attribute}\n" in pages["lookup/python/index.md"]
    for room, (_, names) in _ROOMS.items():
        for name in names:
            assert f"rankfold.{room}.{name}" in pages[f"lookup/python/{room}.md"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_a_page_with_all_its_keys(name: str) -> None:
    page = format_pages()[f"lookup/formats/{name}.md"]
    for key in schema_of(name).get("properties", {}):
        assert f"`{key}`" in page


def test_equations_need_no_script() -> None:
    page = with_equations(r'<p><span class="arithmatex">\(W \approx L R &lt; 1\)</span></p>')
    assert "<math " in page and "arithmatex" not in page and r"\(" not in page


def test_links_out_of_docs_stay_in_the_site() -> None:
    assert "(results/README.md#windows)" in with_site_links("[a](../results/README.md#windows)", "mapping.md")
    assert "(own_network.md)" in with_site_links("[a](own_network.ipynb)", "learn/index.md")
    assert "(https://example.org)" in with_site_links("[a](https://example.org)", "mapping.md")


def test_no_link_leads_to_a_folder() -> None:
    """It is no page: what stands for it has to be in it. That files are there is seen on the built site."""
    for page in (ROOT / "docs").rglob("*.md"):
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = target_of(page, match[2])
            assert not target.is_dir(), f"{page.name} links to {match[2]}"


def test_what_is_wrong_with_a_site_is_found(tmp_path: Path) -> None:
    good = '<html><body id="top"><a href="b.html#here">b</a><img src="i.svg" alt=""></body></html>'
    (tmp_path / "a.html").write_text(good)
    (tmp_path / "b.html").write_text('<html><body><p id="here"></p></body></html>')
    (tmp_path / "i.svg").write_text("<svg/>")
    assert faults(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<html><head><script src="https://cdn.example.org/x.js"></script></head>'
        '<body><a href="a.html#nowhere">a</a><a href="none.html">n</a></body></html>'
    )
    found = "\n".join(faults(tmp_path))
    for words in ("x.js", "#nowhere", "none.html", "#here"):
        assert words in found


def test_search_has_a_worker_where_pages_are_files(tmp_path: Path) -> None:
    (tmp_path / "worker.js").write_text("addEventListener('message', e => postMessage(e.data + 1));")
    (tmp_path / "shim.js").write_text((ROOT / "docs" / "assets" / "iframe-worker.js").read_text())
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><body><script src="shim.js"></script></body>')
    asked = """() => new Promise(resolve => {
        const worker = new Worker("worker.js");
        worker.addEventListener("message", event => resolve(event.data));
        worker.postMessage(41);
    })"""
    with chromium() as browser:
        opened = Opened(browser, page)
        assert opened.page.evaluate(asked) == 42
        assert not opened.complaints
        opened.close()
