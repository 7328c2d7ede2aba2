"""The list of contents of a page, made from the headings that it has."""

from __future__ import annotations

import re

# Scripts, in which nothing is a heading, and headings of sections, whose text is escaped already.
HEADING = re.compile(r"<script.*?</script>|<h2>(?P<words>.*?)</h2>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
FEWEST = 3  # sections; a page of fewer is seen at a glance


def with_contents(body: str) -> str:
    """The body of a page with a link to each of its sections above, and something for these to lead to."""
    found: list[tuple[str, str]] = []

    def named(match: re.Match[str]) -> str:
        words = match["words"]
        if words is None:
            return match[0]
        name = f"section-{len(found) + 1}"
        found.append((name, TAG.sub("", words)))
        return f'<h2 id="{name}" tabindex="-1">{words}</h2>'

    headed = HEADING.sub(named, body)
    if len(found) < FEWEST:
        return body
    links = "".join(f'<li><a href="#{name}">{words}</a></li>' for name, words in found)
    return f'<nav class="contents" aria-label="Contents"><ul>{links}</ul></nav>\n{headed}'
