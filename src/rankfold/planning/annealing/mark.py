"""Where a run goes on that plans again after training: its newest step, as it began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rankfold.plan import Plan
from rankfold.plan.kinds import kind_from_json
from rankfold.runs.folder import RunFolder
from rankfold.runs.result import PlannedStep
from rankfold.runs.state import RunState
from rankfold.surgery.compress import LayerReport, build_
from rankfold.surgery.quantise import insert_quantisers_
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.loop import EpochRecord


def save_mark(state: RunState, number: int) -> None:
    """Keep a step that is about to be trained, planned and made, where the run has a folder.

    The training state of the step before goes first: it would be taken for that of this one. A process that
    is killed in between trains the step before anew.

    Args:
        state: the run.
        number: of the step, from 1.
    """
    folder = state.folder
    if folder is None:
        return
    state.plan.save(folder.step_plan(number))
    state.plan.save(folder.plan)
    folder.checkpoint.unlink(missing_ok=True)
    _kept_in(folder).save(
        {
            "number": number,
            "model": state.model.state_dict(),
            "reports": [_report_to_json(report) for report in state.reports],
            "parameters": list(state.parameters),
            "accuracies": dict(state.accuracies),
            "history": [asdict(record) for record in state.history],
            "steps": [asdict(step) for step in state.planned_steps],
        }
    )


def take_up_(state: RunState) -> int:
    """Bring a run that has its dense network to where its newest step began; the number of that step.

    Args:
        state: the run, started.

    Returns:
        The number, from 1; 0 where no step has begun.

    Raises:
        InputError: what was kept is damaged.
    """
    folder = state.folder
    if folder is None:
        return 0
    kept = _kept_in(folder)
    content = kept.read()
    if content is None:
        return 0
    saved = kept.parse(content, state.device)
    number: int = saved["number"]
    state.plan = Plan.load(folder.step_plan(number))
    build_(state.model, state.plan)
    insert_quantisers_(state.model, state.plan)
    state.model.load_state_dict(saved["model"])
    before, after = saved["parameters"]
    state.parameters = before, after
    state.accuracies.update(saved["accuracies"])
    state.reports = tuple(_report_of(report) for report in saved["reports"])
    state.history = tuple(EpochRecord(**record) for record in saved["history"])
    state.planned_steps = tuple(PlannedStep(**step) for step in saved["steps"])
    return number


def _kept_in(folder: RunFolder) -> Checkpoint:
    return Checkpoint(folder.step, folder.run)


def _report_to_json(report: LayerReport) -> dict[str, Any]:
    # Its kind alone is no plain value.
    return {**vars(report), "kind": report.kind.to_json()}


def _report_of(content: Mapping[str, Any]) -> LayerReport:
    return LayerReport(**{**content, "kind": kind_from_json(content["kind"])})
