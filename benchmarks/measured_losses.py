"""What each changed layer of the trained plans loses alone, measured, beside what is predicted of it.

Usage: python benchmarks/measured_losses.py --data path/to/cifar10 [--threads 1]
           [--out results/planned/measured_losses.csv]

The plans are those of `trained_plans.py`, from which accuracies after training are learnt. Each network is
made of the shipped float weights, without bits and training. Of each changed layer in an otherwise dense
network (of two trimmed ones, of which one reads what the other gives, together), then of all at once, it is
measured how far the scores are from the dense network's: T^2 KL at T = 4, which is what is predicted to
second order, and at T = 1, on 512 training images that are drawn under another seed than those that weights
were made for. It goes on where it was stopped; a quarter of a minute of processor time for each plan.

Prints how many times the prediction is measured, by kind of layer, and how well accuracies after training are
foreseen from sums of these losses instead of predicted ones, each plan by all others (`forecasts.py`).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

import torch
from measured_rows import Rows
from shipped_network import Subject, add_options, subject
from torch import Tensor, nn
from torch.nn import functional as F
from trained_plans import BITS, Trained, is_of_windows, of_runs, stated_loss

from rankfold import Plan
from rankfold.calibration.readers import sole_readers
from rankfold.plan import TrimmedLayer
from rankfold.plan.prediction import decisions
from rankfold.planning.data import planning_data
from rankfold.planning.forecast.held_out import left_out
from rankfold.planning.forecast.outcome import Outcome, bits_of, shipped_outcomes
from rankfold.planning.plan_loss import PlanLosses

IMAGES, SEED = 512, 12345
TEMPERATURES = (4, 1)
AT_ONCE = 4  # plans whose layers are calibrated together
WHOLE = "all"
HEADER = ("plan", "run", "layers", "kind", "predicted", "measured_4", "measured_1")


class Measuring:
    """Divergences from the dense network on some images.

    Args:
        measured: the network and its data.
    """

    def __init__(self, measured: Subject) -> None:
        self.dense = measured.dense.eval()
        samples = planning_data(measured.data, torch.device("cpu"))
        self.images = list(samples.calibration(IMAGES, SEED))
        self._scores = self._of(self.dense)

    def of(self, network: nn.Module) -> list[float]:
        """T^2 KL(dense || network) for each temperature, nats an image."""
        scores = self._of(network.eval())
        found = []
        for temperature in TEMPERATURES:
            logs = F.log_softmax(scores / temperature, 1)
            wanted = F.log_softmax(self._scores / temperature, 1)
            divergence = F.kl_div(logs, wanted, log_target=True, reduction="batchmean")
            found.append(temperature**2 * float(divergence))
        return found

    def _of(self, network: nn.Module) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(images) for images in self.images]).float()


@contextmanager
def standing_in(dense: nn.Module, made: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Inside, some layers of the dense network give what those of another network make of their inputs."""
    hooks = []
    for name in names:
        other = made.get_submodule(name)

        def instead(
            module: nn.Module, given: tuple[Tensor, ...], _: Tensor, other: nn.Module = other
        ) -> Tensor:
            return other(*given)

        hooks.append(dense.get_submodule(name).register_forward_hook(instead))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def units(plan: Plan, readers: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """The changed layers, two trimmed ones together where one alone reads what the other gives."""
    trimmed = {layer.name for layer in plan.changed if isinstance(layer.kind, TrimmedLayer)}
    taken: set[str] = set()
    for layer in plan.changed:
        reader = readers.get(layer.name, "")
        names = (layer.name, reader) if {layer.name, reader} <= trimmed else (layer.name,)
        if layer.name not in taken:
            yield names
        taken.update(names)


def measure(rows: Rows, networks: Sequence[Trained], measured: Subject) -> None:
    """Add the plans that the table lacks."""
    # That of all layers is written last: without it the others of a plan are measured again.
    known = {row[0] for row in rows.rows if row[2] == WHOLE}
    rows.rows = [row for row in rows.rows if row[0] in known]
    plans = {decisions(one.plan.layers): one for one in reversed(networks) if one.plan.changed}
    waiting = [(digest, one) for digest, one in reversed(plans.items()) if digest not in known]
    measuring = Measuring(measured)
    for start in range(0, len(waiting), AT_ONCE):
        group = waiting[start : start + AT_ONCE]
        losses = PlanLosses.on(measured.dense, measured.data, [one.plan for _, one in group])
        for digest, one in group:
            names_of_all = [layer.name for layer in one.plan.changed]
            readers = sole_readers(measured.dense, measuring.images, names_of_all)
            made, by_layer = losses.network(one.plan), losses.by_layer(one.plan)
            found = []
            for names in units(one.plan, readers):
                with standing_in(measuring.dense, made, names):
                    lost = measuring.of(measuring.dense)
                kind = one.plan.layer(names[0]).kind.name
                found.append((" ".join(names), kind, sum(by_layer[name] for name in names), lost))
            found.append((WHOLE, "", sum(by_layer.values()), measuring.of(made)))
            for layers, kind, predicted, lost in found:
                rows.add([digest, one.run, layers, kind, *(f"{value:.5f}" for value in (predicted, *lost))])
            print(f"{one.run}: {len(found) - 1} layers", flush=True)


def tell(path: Path) -> None:
    """Print what docs/planning-accuracy.md says of the table."""
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    layers = [row for row in table if row["layers"] != WHOLE and float(row["predicted"]) > 1e-4]
    print("| kind | layers | measured / predicted, median | quartiles |\n| --- | --: | --: | --- |")
    for kind in dict.fromkeys(row["kind"] for row in layers):
        own = [row for row in layers if row["kind"] == kind]
        ratios = sorted(float(row["measured_4"]) / float(row["predicted"]) for row in own)
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        print(f"| {kind} | {len(own)} | {median(ratios):.2f} | {low:.2f} to {high:.2f} |")
    print("\n| losses | mean error, points |\n| --- | --: |")
    together = {row["plan"]: row for row in table if row["layers"] == WHOLE}

    def summed(column: str) -> dict[str, float]:
        return {
            plan: sum(float(row[column]) for row in table if row["plan"] == plan and row["layers"] != WHOLE)
            for plan in together
        }

    rulers: dict[str, Callable[[Outcome], float]] = {"as they were predicted": lambda outcome: outcome.loss}
    for column, words in (("measured_4", "T = 4"), ("measured_1", "T = 1")):
        alone = summed(column)
        at_once = {plan: float(row[column]) for plan, row in together.items()}
        rulers[f"measured layer by layer, {words}"] = lambda one, found=alone: found[one.plan]
        rulers[f"measured all at once, {words}"] = lambda one, found=at_once: found[one.plan]
    for words, ruler in rulers.items():
        print(f"| {words} | {error(ruler, set(together)):.2f} |")


def error(ruler: Callable[[Outcome], float], plans: set[str]) -> float:
    """How far off accuracies after training with a teacher are foreseen, in points, by another loss."""
    outcomes = []
    for outcome in shipped_outcomes():
        if outcome.plan in plans:
            outcome = replace(outcome, loss=ruler(outcome))
        # The dense network loses nothing by any of them.
        if outcome.plan in plans or outcome.loss == 0:
            outcomes.append(outcome)
    held_out = [one for one in left_out(outcomes) if one.outcome.taught]
    return fmean(100 * abs(one.accuracy - one.outcome.accuracy) for one in held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, test=None)
    parser.add_argument("--out", type=Path, default=Path("results/planned/measured_losses.csv"))
    options = parser.parse_args()
    networks = [one for one in of_runs() if bits_of(one.plan.layers) == BITS]
    learnt = [one for one in networks if stated_loss(one.plan) is not None or is_of_windows(one.plan)]
    measure(Rows(options.out, HEADER, 3), learnt, subject(options))
    tell(options.out)


if __name__ == "__main__":
    main()
