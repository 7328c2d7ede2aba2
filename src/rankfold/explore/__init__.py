"""Many chips for networks, and the best trades among them."""

from rankfold.explore.exploration import Exploration, explore
from rankfold.explore.runners import LocalPool
from rankfold.explore.search import Search
from rankfold.explore.space import Space
from rankfold.explore.space_file import load_space

__all__ = ["Exploration", "LocalPool", "Search", "Space", "explore", "load_space"]
