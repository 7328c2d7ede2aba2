"""An accuracy that training is expected to leave, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rankfold.planning.forecast.forecaster import Forecast


def forecast_in_words(found: Forecast | str) -> str:
    """One line of it, or of why it is not known."""
    if isinstance(found, str):
        return f"after fine-tuning: not known, as {found}"
    epochs = f"{found.epochs} epochs"
    if found.epochs == 1:
        epochs = "1 epoch"
    # The dense network's, too, is the curve's, and not that of a run.
    return (
        f"after {epochs} of fine-tuning about {found.accuracy:.1%} ({100 * found.low:.1f} to "
        f"{100 * found.high:.1f} in nine cases of ten), dense about {found.dense:.1%}; learnt from "
        f"{found.plans} plans, {found.as_long} of them trained as long or longer"
    )


def forecast_to_json(found: Forecast | str | None) -> dict[str, Any] | None:
    """The stable interface of `--json`; None: no plan was made."""
    if found is None:
        return None
    if isinstance(found, str):
        return {"not_known": found}
    return asdict(found)
