"""Energy, time and area of a network in words."""

from __future__ import annotations

from rankfold.cost.energy import SHARES, Comparison, NetworkEnergy

LEAST_SHARE = 0.03  # of the energy; smaller components are summed up


def energy_summary(energy: NetworkEnergy, reference: NetworkEnergy | None = None) -> str:
    """Totals and the conditions they hold for.

    Args:
        energy: the network.
        reference: the same network dense under im2col; None, or where it is this very network: no comparison.
    """
    lines = [
        f"energy {1e-3 * energy.energy:,.1f} nJ per image ({shares(energy)})",
        f"  {energy.conversions:,} ADC conversions in {energy.reads:,} array reads, {energy.tops_per_watt:.1f} TOPS/W",
        f"  {energy.arrays:,} arrays, {energy.utilisation:.1%} of their cells at work, {energy.area:.3f} mm2, "
        f"{energy.leakage:.2f} uW leakage",
        f"  {energy.latency:,.1f} us from in to out, an image every {energy.interval:,.1f} us with layers pipelined",
    ]
    if reference is not None and energy.components != reference.components:
        lines.append(f"  {comparison_in_words(Comparison.of(energy, reference))}")
    return "\n".join([*lines, f"  with {energy.describe()}", f"  ADC: {energy.table.chosen_adc.source}"])


def comparison_in_words(found: Comparison) -> str:
    """The saving against dense im2col, its band, and where it turns."""
    low, high = found.band
    band = f"{abs(low):.0%}{' more' if low < 0 <= high else ''} to {abs(high):.0%} {_less(high)}"
    words = f"{abs(found.saving):.1%} {_less(found.saving)} energy than dense im2col; {band} "
    words += f"where ADCs take {SHARES[0]:.0%} to {SHARES[1]:.0%} of the latter (here {found.share:.0%})"
    return words if found.flip is None else f"{words}; equal at {found.flip:.0%}"


def _less(saving: float) -> str:
    return "less" if saving >= 0 else "more"


def shares(energy: NetworkEnergy) -> str:
    """The components by their share of the dynamic energy, largest first."""
    parts = sorted(energy.components.items(), key=lambda part: part[1], reverse=True)
    large = [(name, value / energy.energy) for name, value in parts if value >= LEAST_SHARE * energy.energy]
    words = [f"{name.replace('_', ' ')} {share:.0%}" for name, share in large]
    rest = 1 - sum(share for _, share in large)
    return ", ".join([*words, f"others {rest:.0%}"] if rest >= 0.005 else words)
