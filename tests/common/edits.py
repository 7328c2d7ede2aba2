"""JSON content spoilt in one place, as by somebody who edits a file, the same under each seed."""

import copy
import json
import random

RAW = "@raw:"  # a text that stands for JSON as it is: Python could not write it
LEAST = (None, True, -1, 0, 3.5, 4.0, "", "x", "a\nb", "\x00", [], {}, [[]], [None], {"a": 1})
LARGE = (1e300, 2**62, 10**400, 999_999_999, "é" * 3000)
WRITTEN = ("NaN", "Infinity", "1e999", "9" * 5000, "[" * 3000 + "]" * 3000)
VALUES = (*LEAST, *LARGE, *(RAW + text for text in WRITTEN))


def _paths(value, at=()):
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from _paths(value[key], (*at, key))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from _paths(member, (*at, place))


def _spoil(parent, key, rng):
    """Drop a member, replace it, double it, or change it a little."""
    how = rng.choice(("drop", "replace", "replace", "double", "nudge", "nudge"))
    if how == "drop":
        del parent[key]
    elif how == "replace":
        parent[key] = rng.choice(VALUES)
    elif how == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif how == "double":
        parent[f"{key}x"] = parent[key]
    elif isinstance(parent[key], int | float):
        parent[key] = rng.choice((parent[key] + 1, -parent[key], parent[key] * 10**12, str(parent[key])))
    elif isinstance(parent[key], str):
        parent[key] = rng.choice((f"{parent[key]}\n", parent[key][1:], parent[key] * 50))
    elif isinstance(parent[key], list):
        parent[key] = rng.choice((parent[key][1:], parent[key] * 2, parent[key][::-1]))


def edited(content, seed):
    """The text of a JSON file with one member spoilt."""
    rng = random.Random(seed)
    content = copy.deepcopy(content)
    paths = [path for path in _paths(content) if path]
    # By depth first, or the members of long lists would be all that is ever spoilt.
    depth = rng.choice(sorted({len(path) for path in paths}))
    *above, key = rng.choice([path for path in paths if len(path) == depth])
    parent = content
    for step in above:
        parent = parent[step]
    _spoil(parent, key, rng)
    text = json.dumps(content)
    for written in WRITTEN:
        text = text.replace(f'"{RAW}{written}"', written)
    return text
