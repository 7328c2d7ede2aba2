"""Plans, networks, costs, fronts and mappings as notebooks show them: tables, and pictures of layers.

A class says with `notebooks.Shown` that it is shown; what of it, one function a class says here.
"""

from rankfold.report.rich import choices, costs, fronts, mappings, networks, plans
from rankfold.report.rich.sheet import Sheet, html_of, sheet_of

__all__ = ["Sheet", "choices", "costs", "fronts", "html_of", "mappings", "networks", "plans", "sheet_of"]
