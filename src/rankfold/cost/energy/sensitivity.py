"""How far a comparison of energies depends on the ADC, the part on which public models differ most."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.energy.table import ADC

SHARES = (0.3, 0.8)  # of the ADC in the reference's energy: the band that every comparison comes with


@dataclass(frozen=True)
class Comparison:
    """The dynamic energy of a network against a reference, for any energy of a conversion.

    With a share s of ADCs in the reference's energy, the ratio of the energies is (1 - s) * others + s * adc:
    making every conversion dearer or cheaper moves s, and the two ratios stay.

    Attributes:
        adc: conversions over those of the reference.
        others: energy of all other components over that of the reference.
        share: s by the table.
    """

    adc: float
    others: float
    share: float

    @classmethod
    def of(cls, energy: NetworkEnergy, reference: NetworkEnergy) -> Comparison:
        """Compare a network with a reference, computed with the same table."""
        # A network of which nothing is stored has no component.
        adc, base = energy.components.get(ADC, 0.0), reference.components[ADC]
        # A table may have ADCs for free, whose dearness only the sensitivity then tells.
        dearer = energy.conversions / reference.conversions
        if base:
            dearer = adc / base
        rest = reference.energy - base
        others = 1.0
        if rest:
            others = (energy.energy - adc) / rest
        share = 0.0
        if reference.energy:
            share = base / reference.energy
        return cls(dearer, others, share)

    def ratio(self, share: float) -> float:
        """Energy over that of the reference, where ADCs make up `share` of the latter."""
        return (1 - share) * self.others + share * self.adc

    @property
    def saving(self) -> float:
        """Part of the reference's energy that is saved, by the table; negative where more is needed."""
        return 1 - self.ratio(self.share)

    @property
    def band(self) -> tuple[float, float]:
        """(least, most) saving where ADCs make up 30 % to 80 % of the reference's energy."""
        # The ratio is a straight line over the share, so its extremes are at the ends.
        ends = [1 - self.ratio(share) for share in SHARES]
        return min(ends), max(ends)

    @property
    def flip(self) -> float | None:
        """The ADC's share of the reference's energy, 0 to 1, at which both need the same; None: one is always
        better.
        """
        # (1 - s) * others + s * adc = 1, solved for s.
        if self.adc == self.others:
            return None
        return _within((1 - self.others) / (self.adc - self.others))

    def flip_against(self, other: Comparison) -> float | None:
        """The share at which two networks, compared with one reference, need the same; None: one is always
        better.
        """
        # Both ratios are lines over s; where they meet, both need the same.
        slope = (self.adc - self.others) - (other.adc - other.others)
        if slope == 0:
            return None
        return _within((other.others - self.others) / slope)


def _within(share: float) -> float | None:
    if 0 <= share <= 1:
        return share
    return None
