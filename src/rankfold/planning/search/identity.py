"""What tells one search from another, so that a study file is never shared by two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rankfold.files import digest_of
from rankfold.plan import LayerPlan
from rankfold.planning.exact import LayerChoices

# All that version 0.1 knew of a layer in a plan, most of it empty where the layer is dense. They stay in
# the name of a search, so that one that began then goes on.
FIELDS = (
    "name",
    "kind",
    "groups",
    "rank",
    "pruning",
    "entries",
    "support",
    "block",
    "steering",
    "in_channels",
    "out_channels",
    "mapping",
    "weight_bits",
    "input_bits",
    "input_signed",
)


def search_name(choices: Sequence[LayerChoices], seed: int, identity: Mapping[str, Any]) -> str:
    """A name that is the same for the same search only, on any machine: without what calibration chose.

    Args:
        choices: what each layer may become; only the layers themselves count.
        seed: of the search.
        identity: what the accuracy of a plan depends on beside.
    """
    layers = []
    for layer in choices:
        dense = layer.dense
        stays = bool(layer.why_dense)
        layers.append([_content(dense.entry), dense.cycles, stays])
    whole = {"layers": layers, "seed": seed, **identity}
    content = json.dumps(whole, sort_keys=True)
    return f"rankfold-{digest_of(content.encode())}"


def _content(entry: LayerPlan) -> dict[str, Any]:
    # Fields without a value are left out of plan files, but not of names.
    content: dict[str, Any] = dict.fromkeys(FIELDS)
    content["reason"] = ""
    content.update(entry.to_json())
    return content
