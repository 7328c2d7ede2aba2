"""The methods of compression, and what the user may say of each."""

from __future__ import annotations

from rankfold.plan import LOW_RANK, SUPPORT
from rankfold.pruning import PAIRS, PATDNN

QUANTISE, CHANNEL = "quantise", "channel"
METHODS: dict[str, tuple[str, ...]] = {  # the choices that go with each; it needs the first
    LOW_RANK: ("rank", "groups", "entries"),
    PATDNN: ("entries",),
    PAIRS: ("entries", "block"),
    SUPPORT: ("entries",),
    QUANTISE: (),
    CHANNEL: ("ratio",),
}
STEERED = (PATDNN, PAIRS, SUPPORT)  # whose rows are counted in two ways
EXAMPLES = {"rank": "1/8", "entries": "4", "ratio": "0.5"}
