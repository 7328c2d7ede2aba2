"""The coverage of a network as text: every layer in a table, or what becomes of how much in a few lines."""

from __future__ import annotations

from rankfold.plan.coverage import FATES, Coverage
from rankfold.report.table import format_table

SHOWN = 4  # reasons in a line of the summary


def coverage_table(coverage: Coverage) -> str:
    """One line for each weight: what it is, its shares, what becomes of it and why; and the totals."""
    rows = [
        [
            layer.name, layer.what, "?" if layer.macs is None else f"{layer.mac_share:.1%}", f"{layer.parameter_share:.1%}",
            layer.fate, layer.why,
        ]
        for layer in coverage.layers
    ]  # fmt: skip
    table = format_table(["layer", "what", "MACs", "parameters", "becomes", "because"], rows, "<<>><<")
    return f"{table}\n\n{coverage_summary(coverage)}"


def coverage_summary(coverage: Coverage) -> str:
    """One line for each thing that becomes of layers, with their shares and reasons."""
    lines = [f"coverage of {coverage.macs:,} multiply-accumulates and {coverage.parameters:,} parameters:"]
    for fate in FATES:
        layers = coverage.of(fate)
        if not layers:
            continue
        macs, parameters = (sum(getattr(layer, share) for layer in layers) for share in ("mac_share", "parameter_share"))
        reasons = list(dict.fromkeys(layer.what if fate == FATES[-1] else layer.why for layer in layers))
        why = "; ".join(reasons[:SHOWN]) + (f"; {len(reasons) - SHOWN} more reasons" if len(reasons) > SHOWN else "")
        count = f"{len(layers)} layer{'s' if len(layers) > 1 else ''}"
        lines.append(f"  {fate}: {count}, {macs:.1%} of MACs, {parameters:.1%} of parameters ({why})")
    rest = 1 - sum(layer.parameter_share for layer in coverage.layers)
    if rest > 5e-4:
        lines.append(f"  biases, norms and others: {rest:.1%} of parameters")
    return "\n".join(lines)
