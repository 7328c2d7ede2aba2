"""`rankfold export`: a finished run for other tools."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cli.arguments.arrays import add_array, add_cells, chosen_hardware
from rankfold.cli.arguments.models import add_factory
from rankfold.cli.arguments.old_names import also_called
from rankfold.cli.arguments.values import refuse_given
from rankfold.files import check_target
from rankfold.mapping import CELLS

if TYPE_CHECKING:
    from rankfold.runs.stored import StoredNetwork
    from rankfold.training.data import ImageData

RANDOM_BATCHES, RANDOM_SIZE = 4, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run_folder",
        type=Path,
        metavar="DIR",
        help="folder of a finished run or of save, or the name of shipped weights",
    )
    add_factory(parser)
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
    form = parser.add_argument(
        "--onnx-format",
        choices=("float", "qdq"),
        help="of the ONNX file: without or with quantisers (default: as the run is)",
    )
    also_called(parser, form, "--precision")
    parser.add_argument(
        "--data", metavar="DATA", help="data set with a test split, on which the ONNX file is checked"
    )
    parser.add_argument("--linear", action="store_true", help="fully connected layers too, in zigzag and csv")
    add_array(parser)
    add_cells(parser, "default: those of the plan", of="of arrays: ")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the export and say what is in it."""
    from rankfold.models.pretrained import run_folder
    from rankfold.runs.stored import StoredNetwork

    _check_options(options)
    # Before the run is loaded: a place that cannot be written is known at once.
    check_target(options.out)
    stored = StoredNetwork.load(
        run_folder(options.run_folder),
        factory=options.factory,
        data=options.data,
        trust_code=options.trust_code,
    )
    TARGETS[options.to](options, stored)
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options of other targets."""
    # Refused instead of ignored: the file would not be what the user thinks it is.
    for names, targets in (
        (("onnx_format", "data"), ("onnx",)),
        (("linear",), ("zigzag", "csv")),
        (("hardware", "array", *CELLS), ("arrays",)),
    ):
        if options.to not in targets:
            where = f"goes with --to {' or '.join(targets)}, not with {options.to}"
            refuse_given(options, names, f"{{flag}} {where}")


def _onnx(options: argparse.Namespace, stored: StoredNetwork) -> None:
    """Write an ONNX file, and compare it with the network image by image."""
    from rankfold.export.onnx.check import compare_onnx
    from rankfold.export.onnx.write import write_onnx
    from rankfold.workload import example_inputs

    model, plan = stored.model, stored.plan
    # As the run is, unless the user asks for the other.
    quantised = plan.quantised
    if options.onnx_format is not None:
        quantised = options.onnx_format == "qdq"
    example = example_inputs(model, plan.input, plan.inputs)
    batches: Iterator[Any] = _random(example)
    if stored.data is not None:
        batches = _test_split(stored.data)
    write_onnx(model, example, options.out, quantised)
    how = "in float"
    if quantised:
        how = "with quantisers"
    print(f"ONNX file {how}: {options.out}")
    # The file is run, and not only written: runtimes differ in what they take.
    compared = compare_onnx(model, options.out, batches, quantised=quantised)
    where = f"the {compared.images} test images"
    if options.data is None:
        where = f"{compared.images} images of normal numbers (give --data for the test split)"
    if compared.same is not None:
        print(f"onnxruntime and torch choose the same class on {compared.same} of {where}")
    else:
        for name, error in compared.errors.items():
            print(f"output {name}: onnxruntime and torch differ by {error:.2%} on {where}")
    # Random images have no classes to be right about.
    if compared.correct is not None and compared.correct_in_torch is not None:
        right, right_in_torch = (
            compared.correct / compared.images,
            compared.correct_in_torch / compared.images,
        )
        print(f"accuracy: onnxruntime {right:.2%}, torch {right_in_torch:.2%}")
    what = "a logit" if compared.same is not None else "an output"
    print(f"largest difference of {what}: {compared.largest:.3g}, of values up to {compared.size:.3g}")


def _test_split(images: ImageData) -> Iterator[Any]:
    import torch

    from rankfold.cli.words.progress import Bars
    from rankfold.progress import heard
    from rankfold.training.batches import EVALUATION_BATCH, Batches

    batches = Batches(images.test, images.mean, images.std, EVALUATION_BATCH, torch.device("cpu"))
    return heard(batches.epoch(), Bars(), "comparing", len(images.test), len)


def _random(example: Any) -> Iterator[Any]:
    """Batches of normal numbers for a network that is called with an example of one sample."""
    import torch

    from rankfold.calibration.samples import map_tensors

    # Always the same, so that a difference can be found again.
    draw = torch.Generator().manual_seed(0)

    def drawn(values: torch.Tensor) -> torch.Tensor:
        # A number of all samples together, and what is counted, stay as they are.
        if values.dim() == 0:
            return values
        size = (RANDOM_SIZE, *values.shape[1:])
        if not values.is_floating_point():
            return values.expand(size)
        return torch.randn(size, generator=draw).to(values.dtype)

    for _ in range(RANDOM_BATCHES):
        yield map_tensors(example, drawn), None


def _arrays(options: argparse.Namespace, stored: StoredNetwork) -> None:
    """Write what to program into every array, and count it."""
    from rankfold.cli.words.progress import Bars
    from rankfold.export.array_images.images import write_arrays

    # The image of an array depends on its cells, which the plan need not name.
    plan = stored.plan.on(chosen_hardware(options, stored.plan))
    written = write_arrays(stored.model, plan, options.out, Bars())
    print(
        f"{stored.factory}: {written.arrays:,} arrays of {plan.array} with {written.cells:,} cells, "
        f"{written.activations:,} activations an image: {options.out}"
    )


def _dense(options: argparse.Namespace, stored: StoredNetwork) -> None:
    """Write the weights of the network with plain layers only."""
    from rankfold.export.dense import merge
    from rankfold.surgery.kinds import surgery_of
    from rankfold.surgery.saving import save_weights

    # Low-rank pairs become single convolutions again: plain code can load them.
    save_weights(options.out, merge(stored.model))
    plan, note = stored.plan, ""
    if plan.quantised:
        note += "; rounding of inputs is dropped, so its accuracy is not the run's"
    if any(surgery_of(layer.kind).resizes_others for layer in plan.layers):
        note += "; its pruned layers have fewer channels than the network's class gives them"
    print(f"dense weights of {stored.factory}: {options.out}{note}")


def _workload(options: argparse.Namespace, stored: StoredNetwork) -> None:
    """Write the layers for other estimators."""
    from rankfold.export.workloads import write_csv, write_zigzag
    from rankfold.runs.stored import dense_network

    # Shapes of the network as it was; the plan says what became of its layers.
    plan = stored.plan
    _, network = dense_network(options.run_folder, plan, stored.factory, stored.classes)
    whole: tuple[str, ...] = ()
    if options.to == "zigzag":
        whole = write_zigzag(options.out, network, plan, options.linear)
    else:
        write_csv(options.out, network, plan, options.linear)
    print(f"layers of {stored.factory}: {options.out}")
    if whole:
        print(
            "ZigZag has no word for weights that are dropped within kernels; written as if they were there: "
            f"{', '.join(whole)}"
        )


# At the end, where all writers are known; argparse lists its keys.
TARGETS: dict[str, Callable[[argparse.Namespace, StoredNetwork], None]] = {
    "onnx": _onnx,
    "arrays": _arrays,
    "zigzag": _workload,
    "csv": _workload,
    "dense": _dense,
}
