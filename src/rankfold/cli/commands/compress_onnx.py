"""`rankfold compress x.onnx --epochs 0`: a decomposed ONNX file, without training."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from rankfold.cli.arguments.arrays import chosen_hardware
from rankfold.cli.arguments.methods import low_rank_method
from rankfold.cli.arguments.process import command_line
from rankfold.cli.arguments.values import flag
from rankfold.cli.words.progress import Bars
from rankfold.cost.energy import NOT_SIMULATED, choose_mappings, hardware_table
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.plan import LowRank, Plan, check_plan, coverage, uniform_plan
from rankfold.records.text_table import format_table, with_short_names
from rankfold.runs.decompose_onnx import Decomposition, decompose_to_folder, read_feeds
from rankfold.workload.onnx.layers import OnnxNetwork, analyse_onnx

IMAGES = 64  # of a data set, for calibration
# All that goes with an ONNX file. Whatever else the user gives is of training, of other methods or of what is
# reported after training.
MEANINGFUL = frozenset(
    {"model", "data", "out", "epochs", "seed", "input", "plan", "decomposition", "method", "bits"}
    | {"rank", "groups", "pointwise", "linear", "fit", "force_low_rank", "rules"}
    | {"hardware", "array", "cell_bits", "coding", "dac_bits", "rows_driven", "converts", "input_coding"}
)

ENERGY_ROW = "energy an image, nJ"


def run(options: argparse.Namespace, bits_given: bool) -> int:
    """Decompose the file and say what that costs.

    Args:
        options: as parsed.
        bits_given: whether the user asked for bits.

    Raises:
        InputError: options that need training, or anything wrong with the file, the plan or the data.
    """
    _check_options(options, bits_given)
    source = analyse_onnx(options.model, options.input)
    plan = _plan(options, source)
    print(coverage(source.network, plan, options.linear).table(), end="\n\n")
    feeds = None
    if options.data is not None:
        feeds = _feeds(options.data, source)
    made = decompose_to_folder(
        source,
        plan,
        options.out,
        feeds,
        command=command_line(options),
        seed=options.seed,
        # With data and nothing else said, factors are made for them.
        for_data=options.decomposition != "svd",
        progress=Bars(),
    )
    print(_table(made))
    print(f"decomposed network: {options.out / 'model.onnx'}")
    return 0


def _check_options(options: argparse.Namespace, bits_given: bool) -> None:
    """Refuse what would need training, or says nothing here."""
    # Asked of the caller, as the default of `--bits` is not None for other networks.
    if bits_given:
        raise InputError(
            "an ONNX file is decomposed in float; for bits give --data and --reconstruct, or epochs"
        )
    if options.method not in (None, LowRank.name):
        raise UnwantedArgumentError(
            f"an ONNX file can be made low-rank only, without training; omit --method {options.method}",
            "method",
        )
    for name, value in vars(options).items():
        if name in MEANINGFUL or name not in options.defaults:
            continue
        if value != options.defaults[name]:
            raise UnwantedArgumentError(
                f"{flag(name)} says nothing where an ONNX file is decomposed without training; omit it", name
            )
    if options.decomposition == "sequential":
        raise InputError(
            "an ONNX file is decomposed layer by layer on its own; choose --decomposition svd, or data with "
            "--data"
        )
    if options.decomposition == "data" and options.data is None:
        raise InputError("--decomposition data needs calibration inputs: --data FILE.npz or a data set")
    if options.plan is None and options.rank is None:
        raise InputError("decomposing an ONNX file needs a rank, such as --rank 1/4, or a --plan")


def _plan(options: argparse.Namespace, source: OnnxNetwork) -> Plan:
    """The plan of a file, or one (g, r) for all layers."""
    if options.plan is None:
        hardware = chosen_hardware(options)
        plan = uniform_plan(source.network, hardware, low_rank_method(options), mapping="sdk")
        return choose_mappings(source.network, plan, hardware_table(hardware))
    plan = Plan.load(options.plan)
    # The array may be another: factors do not depend on it.
    plan = plan.on(chosen_hardware(options, plan))
    check_plan(plan, source.network)
    return plan


def _feeds(data: str, source: OnnxNetwork) -> list[dict[str, np.ndarray]]:
    """Calibration inputs: arrays of the user's, or images of a data set, normalised by its mean and
    deviation.
    """
    if Path(data).suffix in (".npz", ".npy"):
        return read_feeds(data, source)
    images = list(islice(_images(data, source), IMAGES))
    size = source.sizes.batch
    # A data set has one image a sample, and too few of them fill no batch.
    if len(source.file.inputs) != 1 or len(images) < size:
        raise InputError(
            f"data {data} gives single images, and the model takes other inputs; give a .npz of arrays"
        )
    name = source.file.inputs[0].name
    # Whole batches only, as the file was read with this size of batch.
    starts = range(0, len(images) - size + 1, size)
    return [{name: np.stack(images[start : start + size])} for start in starts]


def _images(data: str, source: OnnxNetwork) -> Iterator[np.ndarray]:
    """Training images (C, H, W), one by one."""
    import torch

    from rankfold.training.calibration import CalibrationImages
    from rankfold.training.data import load_images

    # Resized to what the model takes, since a file has fixed sizes.
    loaded = load_images(data, (source.network.input[1], source.network.input[2]))
    if loaded.input_size != source.network.input:
        raise InputError(
            f"data {data} has images of {loaded.input_size} (C, H, W), the model takes {source.network.input}"
        )
    for batch in CalibrationImages(loaded, torch.device("cpu"), 0, IMAGES):
        yield from batch.numpy()


def _table(made: Decomposition) -> str:
    names: dict[str, None] = {}
    for layer in made.layers:
        names.update(dict.fromkeys(layer.setting))
    headers = ["layer", *names, "weight error", "output error", "weights before", "after"]
    rows = []
    for layer in made.layers:
        lost = ""
        if layer.output_error is not None:
            lost = f"{layer.output_error:.1%}"
        sizes = [f"{layer.parameters_before:,}", f"{layer.parameters_after:,}"]
        setting = [str(layer.setting.get(name, "")) for name in names]
        rows.append([layer.name, *setting, f"{layer.error:.1%}", lost, *sizes])
    lines = [
        format_table(headers, with_short_names(rows)),
        "",
        _costs(made),
        "",
        f"numbers in the file: {made.parameters_before:,} -> {made.parameters_after:,}",
    ]
    if made.outputs is None:
        lines.append(f"outputs {made.inputs}")
    else:
        for name, error in made.outputs.items():
            lines.append(f"output {name}: relative error {error:.2%} on {made.inputs}")
    return "\n".join(lines)


def _costs(made: Decomposition) -> str:
    """What the network costs for one image before and after, quantity by quantity."""
    before, after = made.dense, made.low_rank
    amounts: dict[str, tuple[float | None, float | None]] = {
        "cycles an image": (before.cycles, after.cycles),
        "arrays": (before.arrays, after.arrays),
        ENERGY_ROW: (before.energy, after.energy),
        "stored weights": (before.stored, after.stored),
    }
    rows, grown = [], []
    for name, (dense, low_rank) in amounts.items():
        # Neither is known where a weight does not fit the cells of a row.
        if dense is None or low_rank is None:
            rows.append([name, "?", "?", ""])
            continue
        rows.append([name, _amount(dense), _amount(low_rank), f"{low_rank / dense:.2f}x"])
        if name == ENERGY_ROW:
            # Nobody has run these arrays: the file is quantised only where it is deployed.
            rows.append(["accuracy on these arrays", NOT_SIMULATED, NOT_SIMULATED, ""])
        if low_rank > dense:
            grown.append(name.partition(" ")[0])
    table = format_table(["all layers", "dense", "low-rank", "of dense"], rows)
    if grown:
        table += f"\nmore than dense: {', '.join(grown)}"
    return table


def _amount(value: float) -> str:
    """A count, or a figure of nJ."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}"
