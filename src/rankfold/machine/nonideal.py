"""`NonIdealities`: everything in which an array differs from exact integer arithmetic."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

from rankfold.arguments import NUMBER, SWITCH, WHOLE, Wanted, plain_numbers_
from rankfold.errors import FieldError

PCM = "pcm"
CALIBRATED, FULL = "calibrated", "full"
MAXIMUM_ADC_BITS = 16


@dataclass(frozen=True)
class NonIdealities:
    """How real arrays fall short; the defaults are ideal arrays, whose sums are exact.

    Conductances are relative to the highest one a cell is programmed to. Sums are counted in cell levels
    times input levels.

    Attributes:
        adc_bits: resolution of the converters at the columns; None: every sum is read exactly.
        adc_range: the largest sum that the converter distinguishes: `full` (all rows of the layer's fullest
            tile driven with the largest input into the highest cells), `calibrated` (one range for each
            layer, of least squared error on calibration data), or a number of fully driven, fully on cells. A
            code is never finer than one level.
        program_noise: standard deviation of what programming leaves in each cell, relative to its range,
            Gaussian; or `pcm`, the fit to phase-change memory of Nandakumar et al. (ICECS 2019), which
            depends on the conductance.
        read_noise: standard deviation of a cell at each read, relative to its range, Gaussian, new at every
            read; or `pcm`, the 1/f noise accumulated until the time of reading (same source), drawn once for
            each programming.
        drift: seconds since the first read, 20 s after programming, in which every cell drifts as (t/t0)^-nu,
            with nu as fitted in the same source; None: no drift.
        drift_compensation: whether a digital factor for each layer takes the mean of the drift back (Joshi et
            al., Nature Communications 2020).
        stuck: share of cells that cannot be programmed.
        stuck_high: share of these that are stuck at the highest conductance; the others are stuck at zero.
        ir_drop: resistance of a line between two neighbouring cells, times the highest conductance of a cell:
            1 ohm and 10 kilo-ohm give 1e-4. First order: the currents that cells would have without it make
            the voltage drop.
        output_noise: standard deviation of every sum before conversion, relative to one fully driven, fully
            on cell; Gaussian.
    """

    adc_bits: int | None = None
    adc_range: str | float = CALIBRATED
    program_noise: float | str = 0.0
    read_noise: float | str = 0.0
    drift: float | None = None
    drift_compensation: bool = True
    _: KW_ONLY
    stuck: float = 0.0
    stuck_high: float = 0.5
    ir_drop: float = 0.0
    output_noise: float = 0.0

    def __post_init__(self) -> None:
        SWITCH.check("drift_compensation", self.drift_compensation)
        plain_numbers_(self)
        self._check_converters()
        for name in ("program_noise", "read_noise"):
            value = getattr(self, name)
            if value != PCM and not _is_number(value, least=0):
                raise FieldError(
                    f"{name} (={value}) must be 0 or more, relative to a cell's range, or `{PCM}`", name
                )
        for name in ("ir_drop", "output_noise"):
            value = getattr(self, name)
            if not _is_number(value, least=0):
                raise FieldError(f"{name} (={value}) must be a number, 0 or more", name)
        for name in ("stuck", "stuck_high"):
            value = getattr(self, name)
            if not _is_number(value, least=0) or value > 1:
                raise FieldError(f"{name} (={value}) must be a share from 0 to 1", name)
        if self.drift is not None and not _is_number(self.drift, least=0):
            raise FieldError(f"drift (={self.drift}) must be a time in seconds, 0 or more", "drift")

    def _check_converters(self) -> None:
        bits = self.adc_bits
        if bits is not None and (not WHOLE.fits(bits) or not 1 <= bits <= MAXIMUM_ADC_BITS):
            raise FieldError(
                f"adc_bits (={bits}) must be a whole number from 1 to {MAXIMUM_ADC_BITS}; "
                "omit it for exact sums",
                "adc_bits",
            )
        if isinstance(self.adc_range, str):
            is_range = self.adc_range in (CALIBRATED, FULL)
        else:
            is_number = _is_number(self.adc_range, least=0)
            is_range = is_number and self.adc_range > 0
        if not is_range:
            raise FieldError(
                f"adc_range (={self.adc_range}) must be {CALIBRATED}, {FULL} or a positive number of cells",
                "adc_range",
            )

    @property
    def changes_cells(self) -> bool:
        """Whether a programmed cell may differ from its level."""
        # Phase-change reads differ too, but all of one programming in the same way.
        read = self.read_noise == PCM
        return self._programs_at_random or read or self.ir_drop > 0

    @property
    def _programs_at_random(self) -> bool:
        """Whether two cells of the same level may come out differently; drift differs from cell to cell."""
        return self.program_noise != 0 or bool(self.drift) or self.stuck > 0

    @property
    def noisy_reads(self) -> bool:
        """Whether two reads of the same sum may differ."""
        new_each_time = self.read_noise not in (0, PCM)
        return new_each_time or self.output_noise > 0

    @property
    def random(self) -> bool:
        """Whether two chips may differ."""
        reads_at_random = self.read_noise != 0 or self.output_noise > 0
        return self._programs_at_random or reads_at_random

    @property
    def ideal(self) -> bool:
        """Whether nothing is left to simulate."""
        is_disturbed = self.changes_cells or self.noisy_reads
        return self.adc_bits is None and not is_disturbed


def _is_number(value: Any, least: float) -> bool:
    """Whether `value` is a finite number of at least so much; no truth value is one."""
    return NUMBER.fits(value) and math.isfinite(value) and value >= least


# For `arguments.takes`.
NON_IDEALITIES = Wanted("NonIdealities(...)", NonIdealities, optional=True)
