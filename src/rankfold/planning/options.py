"""`PlanningOptions`: what a plan is asked for, beside its network, data, array and budgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rankfold.arguments import SWITCH, Wanted
from rankfold.calibration.outputs import OUTPUTS, OutputModel
from rankfold.cost.energy import ComponentTable
from rankfold.plan.uniform import Bits
from rankfold.planning.exact import CYCLES
from rankfold.planning.exact.widths import CHOICES, BitChoices
from rankfold.planning.request import (
    MEASURED_IMAGES,
    check_drop,
    check_samples,
    chosen_objective,
    chosen_trades,
)
from rankfold.training.metric import METRIC, Function, Metric, Updated

TYPES = {
    "layer_bits": CHOICES.or_none,
    "count_rounding": SWITCH,
    "metric": METRIC.or_none,
    "outputs": OUTPUTS,
    "pointwise": SWITCH,
    "table": Wanted("a ComponentTable (load_table)", ComponentTable, optional=True),
    "trades": Wanted("a list of quantities, such as ['cycles']", list, tuple),
}


@dataclass(frozen=True, kw_only=True)
class PlanningOptions:
    """What a plan is asked for. Most are the arguments of `best_plan` of these names; it says what they mean.

    Attributes:
        trades: what fronts trade for predicted loss, one or two of `QUANTITIES`.
        measured_images: samples to measure accuracy on.
        counted: further quantities that tell candidates apart.

    Raises:
        InputError: one of them is wrong.
    """

    bits: Bits = 4
    layer_bits: BitChoices | None = None
    count_rounding: bool = False
    objective: str | None = None
    max_loss: float | None = None
    max_drop: float | None = None
    metric: Metric | Function | Updated | None = None
    outputs: OutputModel | str | None = None
    trades: Sequence[str] = (CYCLES,)
    pointwise: bool = False
    linear: bool = False
    kinds: Iterable[str] | None = None
    images: int | None = None
    measured_images: int = MEASURED_IMAGES
    seed: int = 0
    table: ComponentTable | None = None
    counted: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, wanted in TYPES.items():
            wanted.check(name, getattr(self, name))
        check_drop(self.max_drop, of_metric=self.metric is not None)
        check_samples(self.images, seed=self.seed, measured_images=self.measured_images)
        objective = chosen_objective(self.objective, max_loss=self.max_loss, max_drop=self.max_drop)
        # Not a generator, which would serve once; names as text are refused with the kinds that there are.
        if self.kinds is not None and not isinstance(self.kinds, str) and isinstance(self.kinds, Iterable):
            object.__setattr__(self, "kinds", tuple(self.kinds))
        # By their full names, whatever they were called; the class is frozen.
        object.__setattr__(self, "objective", objective)
        object.__setattr__(self, "trades", chosen_trades(self.trades))


USUAL = PlanningOptions()
