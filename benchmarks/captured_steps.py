"""Whether steps that a GPU records once may be trusted: they have to do what the ordinary loop does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from gpu_time import OutOfTime, alarm

from rankfold.errors import first_line
from rankfold.mapping import ArraySpec
from rankfold.models.zoo import build
from rankfold.plan import uniform_plan
from rankfold.surgery.quantise import quantise_
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.distillation import Distillation, Teacher
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.loop import train
from rankfold.training.recipe import Recipe
from rankfold.training.together import Pupil, train_together
from rankfold.workload import trace

History = tuple[EpochRecord, ...]


class OrdinaryLoopError(Exception):
    """The loop without captured steps fails."""


def fault_of_capturing(device: torch.device, backend: str | None) -> str | None:
    """Why captured steps are not to be trusted on this device; None: they do what the ordinary loop does.

    Args:
        device: where.
        backend: of `torch.compile`, for passes of quantisers; None: they are not compiled.

    Raises:
        OrdinaryLoopError: that loop fails itself, so that there is nothing to compare with.
    """
    random = np.random.default_rng(0)

    def made_up(count: int) -> ImageSplit:
        return ImageSplit(
            random.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8), random.integers(0, 10, count)
        )

    names = tuple(map(str, range(10)))
    moments = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    data = ImageData("random", names, made_up(128), made_up(20), *moments, mirror=True, digest="")
    # As cells are trained: in the precision of the device, and with a teacher.
    recipe = Recipe(epochs=2, batch_size=16, peak_rate=0.02)

    def loss(trained: Callable[..., History]) -> float:
        """After the last epoch of a small network that is trained so."""
        model = build("resnet8", 10)
        teacher = Teacher(model, Distillation())
        plan = uniform_plan(trace(model, data.input_size), ArraySpec(32, 32), bits=4)
        quantise_(model, plan, list(data.calibration_batches(64, torch.device("cpu"))))
        return trained(model, data, recipe, device, teacher=teacher)[-1].train_loss

    # Of any kind, as torch, its compilers and their imports fail: what it was is told.
    try:
        known = loss(train)
    except Exception as error:
        raise OrdinaryLoopError(first_line(error)) from error
    try:
        found = loss(partial(_trained_captured, backend))
    except Exception as error:
        return first_line(error)
    if abs(found - known) > 0.05 * known:
        return f"a small network has a loss of {found:.4f} by captured steps and of {known:.4f} by others"
    return None


def _trained_captured(
    backend: str | None,
    model: torch.nn.Module,
    data: ImageData,
    recipe: Recipe,
    device: torch.device,
    *,
    teacher: Teacher,
) -> History:
    (trained,) = train_together([Pupil(model, data, recipe, teacher=teacher)], device, backend)
    if trained.error is not None:
        raise trained.error
    return trained.history


def trusted(device: torch.device, no_captured: bool, seconds: float) -> tuple[bool, str | None]:
    """Whether steps are captured, and by what quantisers are compiled in them; says what is not.

    Args:
        device: where.
        no_captured: they are not.
        seconds: for both ways to show themselves, half of it each; one that has not is not trusted.
    """
    if no_captured:
        return False, None
    try:
        # On a processor quantisers have kernels of their own.
        if device.type == "cuda":
            fault = _fault_in_time(device, "inductor", seconds / 2)
            if fault is None:
                return True, "inductor"
            print(f"NO COMPILED QUANTISERS ({fault})")
        fault = _fault_in_time(device, None, seconds / 2)
        if fault is None:
            return True, None
    except OrdinaryLoopError as error:
        # Recorded are the steps of that loop; what is compiled is more that might be wrong.
        print(f"THE ORDINARY LOOP FAILS ({error}): steps are captured, compared with nothing")
        return True, None
    print(f"NO CAPTURED STEPS ({fault}): cells are trained one by one by the ordinary loop")
    return False, None


def _fault_in_time(device: torch.device, backend: str | None, seconds: float) -> str | None:
    """`fault_of_capturing`, or that it was not known in time."""
    try:
        with alarm(seconds):
            return fault_of_capturing(device, backend)
    except OutOfTime:
        return f"not compared after {seconds:.0f} s"
