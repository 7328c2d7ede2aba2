"""All that a network's layers may become but skipped or trimmed, with what each is expected to lose by
several rulers: for plan_baselines.py beside it.

One calibration and one decomposition of each candidate serve all rulers: only what is made small by the exact
choice differs, not the candidates, their rows or their weights. With D = W - M the change of a layer's
matrix, Sigma the second moment of its (centred) inputs and Y = OH OW m its outputs for an image,

    curvature  1/2 E[<D, G>^2], the planner's own prediction, in nats
    mse        positions tr(D Sigma D^T) / Y, the mean squared error of a layer's outputs, as CompressNAS
               (arXiv 2511.11716) ranks its candidates
    share      the same error over that of W alone: relative to the power of the layer's outputs
    magnitude  ||D||^2 / ||W||^2, the share of the squared weights that is lost, without any data
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from shipped_network import Subject

from rankfold import ArraySpec, Plan
from rankfold.cost.energy import hardware_table
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.mapping.window_cover import AnyWindow
from rankfold.plan import LayerPlan, SupportLayer, support_to_text
from rankfold.plan.kinds import LayerKind
from rankfold.planning.data import planning_data
from rankfold.planning.exact import (
    CYCLES,
    ENERGY,
    Candidate,
    cheaper_than_lossless,
    pareto,
    solve,
    without_hopeless,
)
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import LayerSlot, dense_network, layer_slots
from rankfold.planning.kinds import (
    LayerStudy,
    candidates_of,
    layer_entries,
    patches_read,
    uses_supports,
    windows_computed,
)
from rankfold.planning.kinds.stored import Stored
from rankfold.planning.layer_losses import LayerLosses, dense_weight
from rankfold.planning.plan_loss import PlanLosses, planned_windows
from rankfold.planning.statistics import LayerStatistics, layer_statistics

CURVATURE, MSE, SHARE, MAGNITUDE = RULERS = ("curvature", "mse", "share", "magnitude")
COUNTED = (CYCLES, ENERGY)
BITS, SEED = 4, 0


@dataclass(frozen=True)
class Judged:
    """One candidate of a layer, and what each ruler says that it loses."""

    candidate: Candidate
    losses: Mapping[str, float]


class Study:
    """A network on one array: candidates and losses, found once.

    Args:
        subject: network and data.
        array: R x C.
        others: plans whose losses are asked for, too; their windows are calibrated with the rest.
        images: training images to calibrate on.
    """

    def __init__(self, subject: Subject, array: ArraySpec, others: Sequence[Plan], images: int) -> None:
        self.subject, self.array, self._others = subject, array, tuple(others)
        self._images = images
        # Nothing is marked as bypassed, so that no layer is offered as skipped.
        self.slots = layer_slots(subject.network, array, BITS)
        self.table = hardware_table(DEFAULT_HARDWARE.with_array(array))
        dense = dense_network(subject.network, array, self.slots)
        self.costing = Costing.of(subject.network, dense, self.table)
        self._samples = planning_data(subject.data, torch.device("cpu"))

    @cached_property
    def known(self) -> LayerStatistics:
        """What calibration found of all layers that may be changed, and of all windows."""
        open_slots = {slot.name: slot for slot in self.slots if not slot.why_dense}
        of_others = planned_windows(self._others)
        windows: dict[str, tuple[AnyWindow, ...]] = {}
        for name, slot in open_slots.items():
            windows[name] = tuple(dict.fromkeys((*windows_computed(slot), *of_others.get(name, ()))))
        reads = {name: patches_read(slot) for name, slot in open_slots.items()}
        batches = self._samples.calibration(self._images, SEED)
        # Layers that only the other plans change, such as 1x1 convolutions, are looked at as well.
        names = list(dict.fromkeys((*open_slots, *of_others)))
        windows.update({name: found for name, found in of_others.items() if name not in open_slots})
        return layer_statistics(self.subject.dense, batches, names, SEED, reads, windows)

    @cached_property
    def losses(self) -> PlanLosses:
        """The predicted loss of whole plans, and the networks that follow them."""
        return PlanLosses.of_statistics(
            self.subject.dense, self._samples, self.known, images=self._images, seed=SEED
        )

    @cached_property
    def studies(self) -> dict[str, LayerStudy]:
        """The layers that may be changed."""
        found = {}
        for slot in self.slots:
            if not slot.why_dense:
                weight = dense_weight(self.subject.dense.get_submodule(slot.name))
                found[slot.name] = LayerLosses.on(slot, weight, self.known).study
        return found

    @cached_property
    def judged(self) -> dict[str, tuple[Judged, ...]]:
        """What each layer may become."""
        return {slot.name: self._judged(slot) for slot in self.slots}

    def choice(self, ruler: str, quantity: str, budget: float) -> Plan:
        """The plan that a ruler finds best within a budget, by the exact choice, with its predicted loss."""
        choices, curvatures = [], {}
        for slot in self.slots:
            every = [replace(one.candidate, loss=one.losses[ruler]) for one in self.judged[slot.name]]
            choices.append(pareto(every, (quantity,)))
            for one in self.judged[slot.name]:
                curvatures[one.candidate.entry] = one.losses[CURVATURE]
        chosen = solve(choices, {quantity: budget}).chosen
        entries, loss = [], 0.0
        for slot, candidate in zip(self.slots, chosen, strict=True):
            loss += curvatures[candidate.entry]
            reason = slot.why_dense
            if candidate.entry.kind.changes_weight:
                reason = f"{ruler}: {candidate.entry.kind.short()}"
            entries.append(replace(candidate.entry, reason=reason))
        return Plan.of(self.subject.network, self.array, entries).predicting(loss)

    def settled(self, plan: Plan) -> Plan:
        """A uniform plan with the rows and positions that data choose, as the planner chooses them, and its
        predicted loss.
        """
        layers = []
        for layer in plan.layers:
            study = self.studies.get(layer.name)
            if study is not None and layer.kind.changes_weight:
                layer = replace(layer, kind=_settled(layer.kind, study))
            layers.append(layer)
        settled = replace(plan, layers=tuple(layers))
        return settled.predicting(sum(self._loss(layer) for layer in settled.changed))

    def _loss(self, layer: LayerPlan) -> float:
        study = self.studies[layer.name]
        return _judge(self._stored(layer.kind, study), study)[CURVATURE]

    def _judged(self, slot: LayerSlot) -> tuple[Judged, ...]:
        if slot.why_dense:
            entries = self.costing.with_windows(layer_entries(slot, ()), COUNTED)
            costed = [self.costing.candidate(entry, COUNTED) for entry in entries]
            kept = without_hopeless(costed, COUNTED)
            return tuple(Judged(one, dict.fromkeys(RULERS, 0.0)) for one in kept)
        study = self.studies[slot.name]
        families = study.families if uses_supports(slot) else ()
        entries = self.costing.with_windows(layer_entries(slot, families), COUNTED)
        costed = [self.costing.candidate(entry, COUNTED) for entry in entries]
        left = without_hopeless(cheaper_than_lossless(costed, COUNTED), COUNTED)
        # Kind by kind: several mappings of one lose the same.
        found: dict[LayerKind, tuple[LayerKind, dict[str, float]]] = {}
        judged = []
        for candidate in left:
            kind = candidate.entry.kind
            if kind not in found:
                found[kind] = self._of_kind(kind, study)
            settled, losses = found[kind]
            own = replace(candidate, entry=replace(candidate.entry, kind=settled), loss=losses[CURVATURE])
            judged.append(Judged(own, losses))
        return tuple(judged)

    def _of_kind(self, kind: LayerKind, study: LayerStudy) -> tuple[LayerKind, dict[str, float]]:
        if not kind.changes_weight:
            return kind, dict.fromkeys(RULERS, 0.0)
        settled = candidates_of(kind).settled(kind, study)
        return settled, _judge(self._stored(settled, study), study)

    def _stored(self, kind: LayerKind, study: LayerStudy) -> tuple[Stored, ...]:
        return candidates_of(kind).stored(kind, study, self.known.sensitivities[study.slot.name])


def _settled(kind: LayerKind, study: LayerStudy) -> LayerKind:
    if isinstance(kind, SupportLayer):
        free, _ = study.families
        return kind.with_support(support_to_text(free[kind.entries]))
    return candidates_of(kind).settled(kind, study)


def _judge(stored: Sequence[Stored], study: LayerStudy) -> dict[str, float]:
    """What each ruler says of a layer that stores these."""
    height, width = study.slot.plane
    curvature = lost = whole = lost_weights = all_weights = 0.0
    for one in stored:
        sensitivity = one.sensitivity
        shape = sensitivity.power.shape  # (G, m'/G, n)
        change, reference = (one.reference - one.weight).reshape(shape), one.reference.reshape(shape)
        curvature += sensitivity.increase(change)
        second = sensitivity.moments.centred().second  # (G, n, n)
        lost += sensitivity.positions * _power(change, second)
        whole += sensitivity.positions * _power(reference, second)
        lost_weights += float(np.sum(change**2))
        all_weights += float(np.sum(reference**2))
    outputs = study.slot.shape.m * height * width
    return {
        CURVATURE: curvature,
        MSE: lost / outputs,
        SHARE: lost / whole,
        MAGNITUDE: lost_weights / all_weights,
    }


def _power(weight: np.ndarray, second: np.ndarray) -> float:
    """tr(D Sigma D^T) of D (G, m'/G, n)."""
    return float(np.sum((weight @ second) * weight))
