"""Equations, written in TeX between dollars, as MathML: nothing has to be fetched or run to read them."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

# As pymdownx.arithmatex leaves them.
INLINE = re.compile(r'<span class="arithmatex">\\\((.+?)\\\)</span>', re.DOTALL)
DISPLAYED = re.compile(r'<div class="arithmatex">\\\[(.+?)\\\]</div>', re.DOTALL)


def with_equations(page: str) -> str:
    """A page's HTML, with its equations as MathML."""
    page = INLINE.sub(lambda match: _mathml(match[1], "inline"), page)
    return DISPLAYED.sub(lambda match: f'<div class="equation">{_mathml(match[1], "block")}</div>', page)


def _mathml(text: str, display: str) -> str:
    """One equation; its TeX stays in it, for whoever copies it."""
    tex = html.unescape(text).strip()
    drawn = convert(tex, display=display)
    label = html.escape(tex, quote=True)
    return drawn.replace("<math ", f'<math aria-label="{label}" ', 1)
