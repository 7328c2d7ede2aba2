"""`rankfold export`: a finished run for other tools."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import check_target
from rankfold.mapping import CODINGS
from rankfold.plan import NARROWED

TARGETS = ("onnx", "arrays", "zigzag", "csv", "dense")
RANDOM_BATCHES, RANDOM_SIZE = 4, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run_folder", type=Path, metavar="DIR", help="folder of a finished run")
    parser.add_argument(
        "--to", choices=TARGETS, required=True,
        help="onnx (checked with onnxruntime), arrays (the cells to program, and where they belong), zigzag or csv (layers for "
        "other estimators), dense (low-rank pairs folded back, as safetensors for the network that was compressed)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the file; for arrays a new folder")
    parser.add_argument(
        "--precision", choices=("float", "qdq"), help="of the ONNX file: without or with quantisers (default: as the run is)"
    )
    parser.add_argument("--data", metavar="DATA", help="data set with a test split, on which the ONNX file is checked")
    parser.add_argument("--linear", action="store_true", help="fully connected layers too, in zigzag and csv")
    parser.add_argument("--cell-bits", type=int, metavar="N", help="of arrays: bits a cell stores (default: those of the plan)")
    parser.add_argument("--coding", choices=CODINGS, help="of arrays: of signed weights (default: as the plan)")
    parser.add_argument("--dac-bits", type=int, metavar="N", help="of arrays: input bits driven at once (default: as the plan)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the export and say what is in it."""
    from rankfold.runs.evaluate import load_compressed

    for flag, goes_with in (("precision", ("onnx",)), ("data", ("onnx",)), ("linear", ("zigzag", "csv"))):
        if getattr(options, flag) and options.to not in goes_with:
            raise InputError(f"--{flag} goes with --to {' or '.join(goes_with)}, not with {options.to}")
    for flag in ("cell_bits", "coding", "dac_bits"):
        if getattr(options, flag) is not None and options.to != "arrays":
            raise InputError(f"--{flag.replace('_', '-')} goes with --to arrays, not with {options.to}")
    check_target(options.out)
    model, plan, result = load_compressed(options.run_folder)
    if options.to == "onnx":
        return _onnx(options, model, plan, result)
    if options.to == "arrays":
        from rankfold.cli.commands.export_arrays import export

        return export(options, model, plan, result)
    if options.to == "dense":
        from rankfold.export.merge import merge
        from rankfold.surgery.save import save_weights

        save_weights(options.out, merge(model))
        note = "; rounding of inputs is dropped, so its accuracy is not the run's" if plan.quantised else ""
        if any(layer.kind == NARROWED for layer in plan.layers):
            note += "; its pruned layers have fewer channels than the network's class gives them"
        print(f"dense weights of {result.model}: {options.out}{note}")
        return 0
    from rankfold.export.workloads import write_csv, write_zigzag
    from rankfold.models.load import load_model
    from rankfold.workload import trace

    network = trace(load_model(result.model, len(result.data.classes), result.input[0]), result.input, result.model)
    (write_zigzag if options.to == "zigzag" else write_csv)(options.out, network, plan, options.linear)
    print(f"layers of {result.model}: {options.out}")
    return 0


def _onnx(options: argparse.Namespace, model: Any, plan: Any, result: Any) -> int:
    from contextlib import nullcontext

    from rankfold.export.onnx.check import compare_onnx
    from rankfold.export.onnx.write import bypassed, write_onnx
    from rankfold.runs.evaluate import load_data_for

    quantised = plan.quantised if options.precision is None else options.precision == "qdq"
    images = None if options.data is None else load_data_for(result, options.data, options.run_folder)
    write_onnx(model, result.input, options.out, quantised)
    print(f"ONNX file {'with quantisers' if quantised else 'in float'}: {options.out}")
    with nullcontext() if quantised else bypassed(model):
        found = compare_onnx(model, options.out, _random(result.input) if images is None else _test_split(images))
    where = f"the {found.images} test images"
    if images is None:
        where = f"{found.images} images of normal numbers (give --data for the test split)"
    print(f"onnxruntime and torch choose the same class on {found.same} of {where}")
    if found.correct is not None and found.correct_in_torch is not None:
        print(f"accuracy: onnxruntime {found.correct / found.images:.2%}, torch {found.correct_in_torch / found.images:.2%}")
    print(f"largest difference of a logit: {found.largest:.3g}, of logits up to {found.size:.3g}")
    return 0


def _test_split(images: Any) -> Iterator[Any]:
    import torch

    from rankfold.training.batches import EVALUATION_BATCH, Batches

    return iter(Batches(images.test, images.mean, images.std, EVALUATION_BATCH, torch.device("cpu")).epoch())


def _random(image: tuple[int, int, int]) -> Iterator[Any]:
    import torch

    draw = torch.Generator().manual_seed(0)
    for _ in range(RANDOM_BATCHES):
        yield torch.randn(RANDOM_SIZE, *image, generator=draw), None
