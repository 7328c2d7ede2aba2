"""The templates of pages, with the filters that all of them use."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rankfold.report.contents import with_contents
from rankfold.report.methods import done, setting
from rankfold.report.numbers import count, percent, size
from rankfold.report.palette import DARK_PAGE, LIGHT_PAGE, dark_colours

if TYPE_CHECKING:
    from jinja2 import Template


# To read and compile a template takes longer than to fill it in.
@cache
def template(name: str) -> Template:
    """A page's template by its file name, with the filters that all pages use."""
    import jinja2
    from markupsafe import Markup

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
    environment.filters["with_contents"] = lambda body: Markup(with_contents(body))
    environment.globals.update(light_page=LIGHT_PAGE, dark_page=DARK_PAGE, dark_colours=dark_colours())
    return environment.get_template(name)
