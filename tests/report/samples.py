"""Runs of real networks with real cycles, and with invented accuracies and errors, for the tests of the report."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache

from rankfold.cost import network_cycles
from rankfold.cost.energy import dense_plan, load_table, network_energy
from rankfold.mapping import ArraySpec
from rankfold.plan import LOW_RANK, uniform_plan, weights
from rankfold.report.runs import Run
from rankfold.runs.energy_record import EnergyRecord
from rankfold.runs.result import Accuracies, DataInfo, LayerResult, Result
from rankfold.training.loop import EpochRecord
from rankfold.training.recipe import Recipe
from rankfold.workload.zoo import zoo_network

BASELINE = 0.9187
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def history(epochs: int, final: float) -> tuple[EpochRecord, ...]:
    """A curve that ends at `final`; every second epoch was tested, and the last."""
    records = []
    for epoch in range(1, epochs + 1):
        left = (1 - epoch / epochs) ** 1.5
        tested = final - 0.25 * left if epoch % 2 == 0 or epoch == epochs else None
        loss, accuracy = 0.52 + 0.9 * left, final + 0.02 - 0.3 * left
        records.append(EpochRecord(epoch, 0.05, loss, accuracy, tested, 60.0, images_per_second=831.4))
    return tuple(records)


@cache
def run(
    model: str = "resnet20",
    groups: int | None = 4,
    rank: str | None = "1/8",
    final: float = 0.9091,
    label: str = "group low-rank",
    epochs: int = 12,
    bits: int | None = 4,
    side: int = 64,
) -> Run:
    """One run of a network of the zoo on CIFAR-10."""
    network = zoo_network(model, (3, 32, 32), len(CLASSES))
    plan = uniform_plan(network, ArraySpec(side, side), groups, rank, bits)
    costs = network_cycles(network, plan)
    table = load_table("rram-22nm")
    by_name = {cost.shape.name: cost for cost in costs.layers}
    layers = []
    for number, (name, shape) in enumerate(weights(network).items()):
        entry, cost = plan.layer(name), by_name.get(name)
        split = entry.kind == LOW_RANK
        bound = 0.55 + 0.25 * ((7 * number) % 10) / 10
        layers.append(
            LayerResult(
                name=name,
                kind=entry.kind,
                reason=entry.reason,
                groups=entry.groups,
                rank=entry.rank,
                error=(bound if entry.groups == 1 else bound - 0.04 - 0.01 * (number % 4)) if split else None,
                plain_error=bound if split else None,
                parameters_before=shape.parameters,
                parameters_after=cost.parameters if cost else shape.parameters,
                weight_bits=entry.weight_bits,
                input_bits=entry.input_bits,
                cycles=cost.cycles if cost else None,
                planned_cycles=cost.chosen.cycles if cost else None,
                utilisation=cost.utilisation if cost else None,
                window=cost.stages[0].window if cost else None,
                tiles=(cost.stages[0].row_tiles, cost.stages[0].column_tiles) if cost else None,
                shape=cost.shape if cost else None,
            )
        )
    result = Result(
        run="0123456789abcdef",
        command=f"rankfold compress {model} --data ../data/cifar10 --array {side}x{side} --groups {groups} --rank {rank} --out a",
        model=model,
        baseline=f"shipped {model}-cifar10-float.safetensors",
        data=DataInfo("../data/cifar10", "8d6f3a1c5b2e4f7089abcdef01234567", CLASSES, 50000, 10000, None),
        input=(3, 32, 32),
        array=(side, side),
        accuracy=Accuracies(BASELINE, 0.4312, final),
        cycles=costs.total,
        planned_cycles=costs.chosen_cycles,
        utilisation=costs.utilisation,
        macs=sum(layer.shape.macs for layer in costs.layers),
        parameters_before=sum(layer.parameters_before for layer in layers),
        parameters_after=sum(layer.parameters_after for layer in layers),
        layers=tuple(layers),
        untouched=(),
        recipe=asdict(Recipe(epochs=epochs, peak_rate=0.05, seed=7)),
        device="CPU, 2 threads, AVX512",
        precision="float32",
        seconds=60.0 * epochs,
        images_per_second=831.4 if epochs else None,
        planned_conversions=costs.chosen_conversions,
        energy=EnergyRecord.of(network_energy(network, plan, table), network_energy(network, dense_plan(plan), table)),
        versions={"rankfold": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "datasets": "5.2.0"},
    )
    return Run(label, result, plan, history(epochs, final))


def three(model: str = "resnet20") -> tuple[Run, ...]:
    """The comparison of the demo: dense, plain low-rank and group low-rank."""
    return (
        run(model, None, None, 0.9150, "dense"),
        run(model, 1, "1/4", 0.9012, "plain low-rank"),
        run(model, 4, "1/8", 0.9091, "group low-rank, g = 4"),
    )
