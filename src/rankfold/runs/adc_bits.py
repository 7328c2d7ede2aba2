"""`fewest_adc_bits`: the coarsest ADCs with which a finished run keeps its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rankfold.cost.energy import ArrayAccuracy, completed
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.machine.nonideal import MAXIMUM_ADC_BITS
from rankfold.progress import Progress, Silent
from rankfold.runs.chips import Chips, LoadedRun
from rankfold.runs.simulation import check_least
from rankfold.simulator import simulate, simulated_layers
from rankfold.training.data import ImageSplit

LEAST_BITS = 2  # of signed sums one bit has no code but zero
MAX_DROP = 1.0  # points
IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class AdcChoice:
    """The fewest bits found.

    Attributes:
        hardware: what was simulated, with the bits of most layers' ADCs.
        bits: of all layers that `by_layer` does not name.
        by_layer: bits of layers of the plan whose ADCs have fewer.
        accuracy: what the network keeps with these.
        max_drop: points that it was allowed to lose.
        simulations: passes over the images that it took.
    """

    hardware: Hardware
    bits: int
    by_layer: Mapping[str, int] = field(default_factory=dict)
    accuracy: ArrayAccuracy
    max_drop: float
    simulations: int


def fewest_adc_bits(
    loaded: LoadedRun,
    hardware: Hardware | None = None,
    *,
    max_drop: float = MAX_DROP,
    per_layer: bool = False,
    images: int | None = IMAGES,
    seed: int = 0,
    progress: Progress | None = None,
) -> AdcChoice:
    """Simulate a run with coarser and coarser ADCs, and choose the coarsest that lose little.

    A bisection: more bits are taken to lose no more. ADC ranges are calibrated once, on training images, for
    all resolutions. Layer by layer, those of most conversions first, the others stay as they were chosen.

    Args:
        loaded: the run and its data.
        hardware: its arrays; None: those of the plan. What is open is taken from the component table.
        max_drop: points of accuracy that the arrays may take, on these images.
        per_layer: look for fewer bits in each layer too, which takes many times as many simulations.
        images: test images, drawn under the seed; None: all.
        seed: of the images, of the calibration and of the chip.
        progress: hears of each pass.

    Raises:
        InputError: `max_drop` or `seed` is negative, there are no images, or no resolution loses so little.
    """
    check_least("images", images, 1)
    check_least("seed", seed, 0)
    if not 0 <= max_drop <= 100:
        raise InputError(f"max drop (={max_drop}) must be from 0 to 100 points")
    made = completed(hardware or loaded.plan.machine).altered(adc_bits=MAXIMUM_ADC_BITS)
    search = _Search(loaded, made, max_drop=max_drop, images=images, seed=seed, progress=progress or Silent())
    bits = search.uniform()
    by_layer: dict[str, int] = {}
    if per_layer:
        by_layer = search.each_layer(bits)
    return AdcChoice(
        hardware=made.altered(adc_bits=bits),
        bits=bits,
        by_layer=by_layer,
        accuracy=search.accuracy(),
        max_drop=max_drop,
        simulations=search.simulations,
    )


class _Search:
    """One network on arrays, whose ADCs are exchanged again and again."""

    def __init__(
        self,
        loaded: LoadedRun,
        hardware: Hardware,
        *,
        max_drop: float,
        images: int | None,
        seed: int,
        progress: Progress,
    ) -> None:
        plan = loaded.plan.on(hardware)
        network = simulate(loaded.model, plan, hardware.non_idealities, seed=seed)
        self._names = [layer.name for layer in plan.layers]
        self._chips = Chips(loaded, network, seed, progress)
        self._layers = simulated_layers(network)
        self._seed = seed
        self._split: ImageSplit = loaded.data.test
        if images is not None:
            self._split = self._split.sample(images, seed)
        self._ideal = self._chips.ideal_accuracy(self._split)
        # Counted in images, so that 1.0 points of 1,000 are ten images and not 9.99.
        self._lost_at_most = max_drop / 100 * len(self._split) + 1e-9
        self._bits = {layer.name: MAXIMUM_ADC_BITS for layer in self._layers}
        self._known: dict[tuple[int, ...], float] = {}

    @property
    def simulations(self) -> int:
        """Passes over the images so far."""
        return len(self._known)

    def uniform(self) -> int:
        """The fewest bits of all ADCs.

        Raises:
            InputError: none will do.
        """

        def all_of(bits: int) -> None:
            for name in self._bits:
                self._bits[name] = bits

        bits = self._bisect(LEAST_BITS, MAXIMUM_ADC_BITS, all_of)
        if bits is None:
            all_of(MAXIMUM_ADC_BITS)
            lost = 100 * (self._ideal - self.accuracy().accuracy)
            raise InputError(
                f"with ADCs of {MAXIMUM_ADC_BITS} bits these arrays still lose {lost:.1f} points of "
                f"{100 * self._ideal:.1f}; allow a larger max drop, or choose other arrays"
            )
        return bits

    def each_layer(self, bits: int) -> dict[str, int]:
        """Fewer bits than `bits` in single layers of the plan, the ones with most conversions first."""
        parts: dict[str, list[str]] = {}
        work: dict[str, int] = {}
        for layer in self._layers:
            # A low-rank layer runs as two, which share its resolution.
            name = next(name for name in self._names if (layer.name + ".").startswith(name + "."))
            parts.setdefault(name, []).append(layer.name)
            for arrays in layer.arrays.values():
                work[name] = work.get(name, 0) + arrays.conversions
        chosen = {}
        for name in sorted(parts, key=lambda name: -work[name]):

            def these(bits: int, own: list[str] = parts[name]) -> None:
                for part in own:
                    self._bits[part] = bits

            fewer = self._bisect(LEAST_BITS, bits, these)
            assert fewer is not None  # `bits` itself will do
            if fewer < bits:
                chosen[name] = fewer
        return chosen

    def accuracy(self) -> ArrayAccuracy:
        """What the network keeps with the ADCs of now."""
        return ArrayAccuracy(
            accuracy=self._measure(),
            ideal=self._ideal,
            images=len(self._split),
            seed=self._seed,
            measured=self._chips.loaded.measured,
        )

    def _bisect(self, low: int, high: int, give: Callable[[int], None]) -> int | None:
        """The fewest bits from `low` to `high` that lose little, which are then given; None: none."""
        give(high)
        if not self._keeps():
            return None
        while low < high:
            middle = (low + high) // 2
            give(middle)
            if self._keeps():
                high = middle
            else:
                low = middle + 1
        give(high)
        return high

    def _keeps(self) -> bool:
        lost = (self._ideal - self._measure()) * len(self._split)
        return lost <= self._lost_at_most

    def _measure(self) -> float:
        key = tuple(self._bits.values())
        if key not in self._known:
            self._chips.program()  # calibrates at first, before any resolution is set
            for layer in self._layers:
                layer.set_adc_bits_(self._bits[layer.name])
            shown = sorted(set(key))
            words = f"ADCs of {shown[0]} bits"
            if len(shown) > 1:
                words = f"ADCs of {shown[0]} to {shown[-1]} bits"
            self._known[key] = self._chips.accuracy(0, self._split, words)
        return self._known[key]
