"""`rankfold export`: a finished run for other tools."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cli.arguments.arrays import add_array, add_cells, chosen_hardware
from rankfold.errors import InputError
from rankfold.files import check_target
from rankfold.mapping import CELLS

if TYPE_CHECKING:
    from torch import nn

    from rankfold.plan import Plan
    from rankfold.runs.result import Result
    from rankfold.training.data import ImageData

RANDOM_BATCHES, RANDOM_SIZE = 4, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run_folder", type=Path, metavar="DIR", help="folder of a finished run")
    parser.add_argument(
        "--to",
        choices=tuple(TARGETS),
        required=True,
        help="onnx (checked with onnxruntime), arrays (the cells to program, and where they belong), "
        "zigzag or csv (layers for other estimators), dense (low-rank pairs folded back, as "
        "safetensors for the network that was compressed)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="the file; for arrays a new folder"
    )
    parser.add_argument(
        "--precision",
        choices=("float", "qdq"),
        help="of the ONNX file: without or with quantisers (default: as the run is)",
    )
    parser.add_argument(
        "--data", metavar="DATA", help="data set with a test split, on which the ONNX file is checked"
    )
    parser.add_argument("--linear", action="store_true", help="fully connected layers too, in zigzag and csv")
    add_array(parser)
    add_cells(parser, "default: those of the plan", of="of arrays: ")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the export and say what is in it."""
    from rankfold.runs.evaluate import load_run

    _check_options(options)
    # Before the run is loaded: a place that cannot be written is known at once.
    check_target(options.out)
    model, plan, result = load_run(options.run_folder)
    TARGETS[options.to](options, model, plan, result)
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options of other targets."""
    # Refused instead of ignored: the file would not be what the user thinks it is.
    for flag, goes_with in (
        ("precision", ("onnx",)),
        ("data", ("onnx",)),
        ("linear", ("zigzag", "csv")),
    ):
        if getattr(options, flag) and options.to not in goes_with:
            raise InputError(f"--{flag} goes with --to {' or '.join(goes_with)}, not with {options.to}")
    if options.to == "arrays":
        return
    for flag in ("hardware", "array", *CELLS):
        if getattr(options, flag) is not None:
            raise InputError(f"--{flag.replace('_', '-')} goes with --to arrays, not with {options.to}")


def _onnx(options: argparse.Namespace, model: nn.Module, plan: Plan, result: Result) -> None:
    """Write an ONNX file, and compare it with the network image by image."""
    from rankfold.export.onnx.check import compare_onnx
    from rankfold.export.onnx.write import write_onnx
    from rankfold.runs.evaluate import load_data_for

    # As the run is, unless the user asks for the other.
    quantised = plan.quantised
    if options.precision is not None:
        quantised = options.precision == "qdq"
    batches: Iterator[Any] = _random(result.input)
    if options.data is not None:
        batches = _test_split(load_data_for(result, options.data, options.run_folder))
    write_onnx(model, result.input, options.out, quantised)
    how = "in float"
    if quantised:
        how = "with quantisers"
    print(f"ONNX file {how}: {options.out}")
    # The file is run, and not only written: runtimes differ in what they take.
    compared = compare_onnx(model, options.out, batches, quantised=quantised)
    where = f"the {compared.images} test images"
    if options.data is None:
        where = f"{compared.images} images of normal numbers (give --data for the test split)"
    print(f"onnxruntime and torch choose the same class on {compared.same} of {where}")
    # Random images have no classes to be right about.
    if compared.correct is not None and compared.correct_in_torch is not None:
        right, right_in_torch = (
            compared.correct / compared.images,
            compared.correct_in_torch / compared.images,
        )
        print(f"accuracy: onnxruntime {right:.2%}, torch {right_in_torch:.2%}")
    print(f"largest difference of a logit: {compared.largest:.3g}, of logits up to {compared.size:.3g}")


def _test_split(images: ImageData) -> Iterator[Any]:
    import torch

    from rankfold.training.batches import EVALUATION_BATCH, Batches

    batches = Batches(images.test, images.mean, images.std, EVALUATION_BATCH, torch.device("cpu"))
    return iter(batches.epoch())


def _random(image: tuple[int, int, int]) -> Iterator[Any]:
    import torch

    # Always the same images, so that a difference can be found again.
    draw = torch.Generator().manual_seed(0)
    for _ in range(RANDOM_BATCHES):
        yield torch.randn(RANDOM_SIZE, *image, generator=draw), None


def _arrays(options: argparse.Namespace, model: nn.Module, plan: Plan, result: Result) -> None:
    """Write what to program into every array, and count it."""
    from rankfold.export.array_images.images import write_arrays

    # The image of an array depends on its cells, which the plan need not name.
    plan = plan.on(chosen_hardware(options, plan))
    written = write_arrays(model, plan, options.out)
    print(
        f"{result.model}: {written.arrays:,} arrays of {plan.array} with {written.cells:,} cells, "
        f"{written.activations:,} activations an image: {options.out}"
    )


def _dense(options: argparse.Namespace, model: nn.Module, plan: Plan, result: Result) -> None:
    """Write the weights of the network with plain layers only."""
    from rankfold.export.merge import merge
    from rankfold.surgery.kinds import surgery_of
    from rankfold.surgery.save import save_weights

    # Low-rank pairs become single convolutions again: plain code can load them.
    save_weights(options.out, merge(model))
    note = ""
    if plan.quantised:
        note += "; rounding of inputs is dropped, so its accuracy is not the run's"
    if any(surgery_of(layer.kind).resizes_others for layer in plan.layers):
        note += "; its pruned layers have fewer channels than the network's class gives them"
    print(f"dense weights of {result.model}: {options.out}{note}")


def _workload(options: argparse.Namespace, model: nn.Module, plan: Plan, result: Result) -> None:
    """Write the layers for other estimators."""
    from rankfold.export.workloads import write_csv, write_zigzag
    from rankfold.models.load import load_model
    from rankfold.workload import trace

    # Shapes of the network as it was; the plan says what became of its layers.
    dense = load_model(result.model, len(result.data.classes), result.input[0])
    network = trace(dense, result.input, result.model)
    whole: tuple[str, ...] = ()
    if options.to == "zigzag":
        whole = write_zigzag(options.out, network, plan, options.linear)
    else:
        write_csv(options.out, network, plan, options.linear)
    print(f"layers of {result.model}: {options.out}")
    if whole:
        print(
            "ZigZag has no word for weights that are dropped within kernels; written as if they were there: "
            f"{', '.join(whole)}"
        )


# At the end, where all writers are known; argparse lists its keys.
TARGETS: dict[str, Callable[[argparse.Namespace, nn.Module, Plan, Result], None]] = {
    "onnx": _onnx,
    "arrays": _arrays,
    "zigzag": _workload,
    "csv": _workload,
    "dense": _dense,
}
