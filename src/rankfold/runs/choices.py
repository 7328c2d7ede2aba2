"""`RunChoices`: how a run is done, beside its network, data, plan and recipe."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.calibration.outputs import OutputModel
from rankfold.machine import Hardware, NonIdealities
from rankfold.progress import Progress
from rankfold.runs.baseline import DenseWeights
from rankfold.runs.energy_record import EnergyOptions
from rankfold.runs.recipes import DISTILLATION
from rankfold.runs.state import RunNotes
from rankfold.training.distillation import Distillation
from rankfold.training.metric import Function, Metric, Updated
from rankfold.training.processes import ALONE, Processes
from rankfold.training.reconstruction_recipe import Reconstruction


@dataclass(frozen=True, kw_only=True)
class RunChoices:
    """The arguments of `runs.run.run` that have these names; it says what they mean."""

    name: str | None = None
    baseline: DenseWeights | None = None
    decomposition: str = "data"
    rounding: str = "nearest"
    distillation: Distillation | None = DISTILLATION
    reconstruction: Reconstruction | None = None
    noise: NonIdealities | None = None
    energy: EnergyOptions | None = None
    hardware: Hardware | None = None
    notes: RunNotes | None = None
    linear: bool = False
    device: str = "auto"
    progress: Progress | None = None
    processes: Processes = ALONE
    captured: bool = False
    metric: Metric | Function | Updated | None = None
    outputs: OutputModel | str | None = None
