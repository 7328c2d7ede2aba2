"""The templates of pages, with the filters that all of them use."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rankfold.report.methods import done, setting
from rankfold.report.numbers import count, percent, size

if TYPE_CHECKING:
    from jinja2 import Template


# To read and compile a template takes longer than to fill it in.
@cache
def template(name: str) -> Template:
    """A page's template by its file name, with the filters that all pages use."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rankfold.report"),
        # Names of layers and runs are the user's; none of them is to become part of the page's code.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, number=count, size=size, setting=setting, done=done)
    return environment.get_template(name)
