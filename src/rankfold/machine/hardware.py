"""`Hardware`: the arrays, converters and defects that networks run on, described once for every command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from rankfold.arguments import WHOLE, Wanted, plain_numbers_
from rankfold.errors import FieldError, InputError
from rankfold.machine.nonideal import MAXIMUM_ADC_BITS, NonIdealities
from rankfold.mapping import ArraySpec

# What `Hardware.altered` takes, by where it is kept.
OF_ARRAY = tuple(part.name for part in fields(ArraySpec))
OF_NOISE = tuple(part.name for part in fields(NonIdealities) if part.name != "adc_bits")
WITH = " with "  # between a name and what was changed
OF_HARDWARE = ("technology", "adc", "adc_bits", "mux")
# What stands between two figures in a name.
FIGURE = re.compile(rf", (?=(?:{'|'.join((*OF_ARRAY, *OF_NOISE, *OF_HARDWARE))}) )")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One description of the arrays for cycles, energy and simulation.

    Where a figure is None, cycles count whole weights and whole inputs, and energy takes the figure of the
    component table.

    Attributes:
        name: what results call it.
        array: rows and columns, cells, DACs, rows driven at once.
        technology: the component table of energy and area: its name, or a YAML file.
        adc: the kind of ADC, of those that the table describes; None: the table's choice.
        adc_bits: bits of the ADCs; None: the table's in energy, exact sums in simulation.
        mux: columns that share an ADC, one after another; None: as the table says.
        noise: in what the arrays fall short where they are simulated, and the range of the ADCs; its own
            `adc_bits` stay None.
        sources: where figures come from, by their place in the file, such as `adc/bits`.
    """

    name: str = "unnamed"
    array: ArraySpec
    technology: str = "rram-22nm"
    adc: str | None = None
    adc_bits: int | None = None
    mux: int | None = None
    noise: NonIdealities = field(default_factory=NonIdealities)
    # Words: hardware of the same figures is the same.
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        plain_numbers_(self)
        if not isinstance(self.array, ArraySpec):
            raise InputError(
                f"hardware array (={self.array}) must be an ArraySpec, such as ArraySpec(64, 64)"
            )
        if not isinstance(self.noise, NonIdealities):
            raise InputError(
                f"hardware noise (={self.noise}) must be NonIdealities, such as "
                "NonIdealities(program_noise=0.02)"
            )
        for what in ("name", "technology"):
            value = getattr(self, what)
            if not isinstance(value, str) or not value:
                raise InputError(f"hardware {what} (={value}) must be a text")
        if self.adc is not None and not isinstance(self.adc, str):
            raise FieldError(f"hardware adc (={self.adc}) must be the name of a kind, such as flash", "adc")
        self._check_count("adc_bits", self.adc_bits, MAXIMUM_ADC_BITS)
        self._check_count("mux", self.mux, self.array.columns)
        if self.noise.adc_bits is not None:
            raise InputError("the resolution of the converters is hardware's own; give adc_bits beside noise")

    @staticmethod
    def _check_count(what: str, value: int | None, most: int) -> None:
        if value is None:
            return
        if not WHOLE.fits(value) or not 1 <= value <= most:
            words = what.replace("_", " ")
            raise FieldError(f"{words} (={value}) must be a whole number from 1 to {most}", what)

    @property
    def is_default(self) -> bool:
        """Whether nothing but its array, and the name that says so, differs from the default."""
        base = DEFAULT_HARDWARE
        named = self.name == base.name or self.name.startswith(base.name + WITH)
        return named and replace(self, name=base.name, array=base.array) == base

    @property
    def non_idealities(self) -> NonIdealities:
        """Everything in which its arrays differ from exact arithmetic, the converters among it."""
        return replace(self.noise, adc_bits=self.adc_bits)

    def altered(self, **changes: Any) -> Hardware:
        """The same with other figures, called so.

        Args:
            **changes: fields of `ArraySpec` (`rows`, `cell_bits`, ...), of `NonIdealities`
                (`program_noise`, ...), and `technology`, `adc`, `adc_bits`, `mux`.

        Raises:
            InputError: there is no such figure, or it is out of range.
        """
        for name in changes:
            if name not in (*OF_ARRAY, *OF_NOISE, *OF_HARDWARE):
                raise InputError(f"hardware has no {name}")
        array = replace(self.array, **_among(changes, OF_ARRAY))
        # Columns that share an ADC are those of one array: of smaller arrays as the table says.
        if self.mux is not None and self.mux > array.columns:
            changes.setdefault("mux", None)
        made = replace(
            self,
            array=array,
            noise=replace(self.noise, **_among(changes, OF_NOISE)),
            **_among(changes, OF_HARDWARE),
        )
        return replace(made, name=_name(self, made, changes))

    def figure(self, name: str) -> Any:
        """The figure that `altered` knows by `name`."""
        if name in OF_ARRAY:
            return getattr(self.array, name)
        if name in OF_NOISE:
            return getattr(self.noise, name)
        return getattr(self, name)

    def with_array(self, array: ArraySpec) -> Hardware:
        """The same with other arrays, called so; itself where they are its own."""
        return self.altered(**{name: getattr(array, name) for name in OF_ARRAY})


def _among(changes: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name in names}


def _name(before: Hardware, after: Hardware, changes: Mapping[str, Any]) -> str:
    """The name of hardware that was changed: what it was, and in what it now differs."""
    changed: dict[str, str] = {}
    for name in changes:
        value = after.figure(name)
        if value == before.figure(name):
            continue
        shown = value
        if value is None:
            shown = "open"
        changed[name] = f"{name} {shown}"
    if not changed:
        return before.name
    base, _, said = before.name.partition(WITH)
    # A figure that is changed again is said once, as it is now.
    # Only before a figure: the name of a file may have commas.
    words = [word for word in FIGURE.split(said) if word and word.split(" ")[0] not in changed]
    for name, word in changed.items():
        # What everybody knows of the default is as if it had never been changed.
        if base != DEFAULT_HARDWARE.name or after.figure(name) != DEFAULT_HARDWARE.figure(name):
            words.append(word)
    if not words:
        return base
    return base + WITH + ", ".join(words)


# The one place that chooses hardware where nobody does.
DEFAULT_HARDWARE = Hardware(name="default", array=ArraySpec(64, 64))


# For `arguments.takes`.
HARDWARE = Wanted("an ArraySpec, such as ArraySpec(64, 64), or a Hardware", ArraySpec, Hardware)
