"""Runs of real networks with real cycles, and with invented accuracies and errors."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache

from rankfold.cost import BASIC_METHODS, Masks, NetworkCycles, network_cycles
from rankfold.cost.energy import dense_plan, load_table, network_energy
from rankfold.cost.layer_cycles import by_text
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Method, Plan, Quantise, uniform_plan, weights
from rankfold.report import method_name
from rankfold.report.runs import Run
from rankfold.runs.energy_record import EnergyRecord
from rankfold.runs.layer_result import LayerResult
from rankfold.runs.result import Accuracies, DataInfo, Result
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.recipe import Recipe
from rankfold.workload import Network, zoo_network

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
    """One run of a network of the zoo on CIFAR-10, low-rank in all layers that can be, or dense."""
    network = zoo_network(model, (3, 32, 32), len(CLASSES))
    method: Method = Quantise()
    if rank is not None:
        method = LowRank(rank=rank, groups=groups, force=True)
    plan = uniform_plan(network, ArraySpec(side, side), method, bits=bits)
    settings = f"--array {side}x{side} --groups {groups} --rank {rank}"
    command = f"rankfold compress {model} --data ../data/cifar10 {settings} --out a"
    return run_of(network, plan, command=command, final=final, label=label, epochs=epochs)


def run_of(
    network: Network,
    plan: Plan,
    masks: Masks | None = None,
    *,
    command: str = "",
    final: float = 0.9,
    label: str = "",
    epochs: int = 12,
) -> Run:
    """A run that followed a plan; without a label it is named by what it did."""
    costs = network_cycles(network, plan, (*BASIC_METHODS, "best"), masks)
    table = load_table("rram-22nm")
    energy = EnergyRecord.of(
        network_energy(network, plan, table, masks),
        network_energy(network, dense_plan(plan), table),
        ("best", network_energy(network, dense_plan(plan, "best"), table)),
    )
    layers = _layers(network, plan, costs)
    result = Result(
        run="0123456789abcdef",
        command=command,
        model=network.name,
        baseline=f"shipped {network.name}-cifar10-float.safetensors",
        data=DataInfo(
            source="../data/cifar10",
            digest="8d6f3a1c5b2e4f7089abcdef01234567",
            classes=CLASSES,
            train_images=50000,
            test_images=10000,
            image_size=None,
        ),
        input=(3, 32, 32),
        array=(plan.array.rows, plan.array.columns),
        accuracy=Accuracies(BASELINE, 0.4312, final),
        cycles=by_text(costs.total),
        planned_cycles=costs.chosen_cycles,
        utilisation=costs.utilisation,
        macs=sum(layer.shape.macs for layer in costs.layers),
        parameters_before=sum(layer.parameters_before for layer in layers),
        parameters_after=sum(layer.parameters_after for layer in layers),
        layers=layers,
        untouched=(),
        recipe=asdict(Recipe(epochs=epochs, peak_rate=0.05, seed=7)),
        device="CPU, 2 threads, AVX512",
        precision="float32",
        seconds=60.0 * epochs,
        images_per_second=831.4 if epochs else None,
        planned_conversions=costs.chosen_conversions,
        energy=energy,
        versions={
            "rankfold": "0.1.0",
            "python": "3.11.7",
            "torch": "2.13.0",
            "numpy": "2.4.6",
            "datasets": "5.2.0",
        },
    )
    return Run(label or method_name(result), result, plan, history(epochs, final))


def _layers(network: Network, plan: Plan, costs: NetworkCycles) -> tuple[LayerResult, ...]:
    by_name = {cost.shape.name: cost for cost in costs.layers}
    layers = []
    for number, (name, shape) in enumerate(weights(network).items()):
        entry = plan.layer(name)
        kind = entry.kind.to_json()
        error, bound = _errors(number, kind.get("groups"))
        if not entry.kind.changes_weight:
            error, bound = None, None
        layer = LayerResult(
            name=name,
            kind=entry.kind.name,
            reason=entry.reason,
            groups=kind.get("groups"),
            rank=kind.get("rank"),
            error=error,
            plain_error=bound,
            parameters_before=shape.parameters,
            parameters_after=shape.parameters,
            weight_bits=entry.weight_bits,
            input_bits=entry.input_bits,
            cycles=None,
            planned_cycles=None,
            utilisation=None,
            window=None,
            tiles=None,
            pruning=entry.kind.variant,
            entries=kind.get("entries"),
            becomes=kind,
        )
        cost = by_name.get(name)
        if cost is not None:
            layer = replace(
                layer,
                parameters_after=cost.parameters,
                cycles=by_text(cost.cycles),
                planned_cycles=cost.chosen_cycles,
                utilisation=cost.utilisation,
                window=cost.stages[0].window,
                tiles=(cost.stages[0].row_tiles, cost.stages[0].column_tiles),
                shape=cost.shape,
            )
        layers.append(layer)
    return tuple(layers)


def _errors(number: int, groups: int | None) -> tuple[float, float | None]:
    """An invented error of the weight, and the bound on it that pairs have."""
    bound = 0.55 + 0.25 * ((7 * number) % 10) / 10
    if groups is None:
        return bound - 0.2, None
    if groups == 1:
        return bound, bound
    return bound - 0.04 - 0.01 * (number % 4), bound


def three(model: str = "resnet20") -> tuple[Run, ...]:
    """The comparison of the demo: dense, plain low-rank and group low-rank."""
    return (
        run(model, None, None, 0.9150, "dense"),
        run(model, 1, "1/4", 0.9012, "plain low-rank"),
        run(model, 4, "1/8", 0.9091, "group low-rank, g = 4"),
    )
