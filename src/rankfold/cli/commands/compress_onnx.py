"""`rankfold compress x.onnx --epochs 0`: a decomposed ONNX file, without training."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from rankfold.cli.arguments.options import command_line
from rankfold.errors import InputError
from rankfold.mapping import DEFAULT_ARRAY, ArraySpec
from rankfold.plan import Plan, check_plan, coverage, uniform_plan
from rankfold.records.text_table import format_table
from rankfold.report.coverage import coverage_table
from rankfold.runs.decompose_onnx import Decomposition, decompose_to_folder, read_feeds
from rankfold.workload.onnx.layers import OnnxNetwork, analyse_onnx

IMAGES = 64  # of a data set, for calibration
# Options of training, of other methods and of what is reported after training.
WITHOUT_MEANING = (
    "checkpoint", "noise_aware", "resume", "entries", "block", "ratio", "adc_bits", "program_noise", "read_noise", "drift",
    "no_drift_compensation", "stuck", "ir_drop", "output_noise", "technology", "adc", "compile", "distil", "image_size",
    "threads",
)  # fmt: skip


def run(options: argparse.Namespace, bits: object, array: ArraySpec | None) -> int:
    """Decompose the file and say what that costs.

    Args:
        options: as parsed.
        bits: that the user asked for; None: none.
        array: that the user asked for; None: as in the plan, or the default.

    Raises:
        InputError: options that need training, or anything wrong with the file, the plan or the data.
    """
    if options.epochs != 0:
        raise InputError(f"{options.model} is an ONNX file, which is decomposed but not trained here; add --epochs 0")
    if bits is not None:
        raise InputError("an ONNX file is decomposed in float, as bits need training; leave --bits away")
    if options.method not in (None, "low-rank"):
        raise InputError(f"an ONNX file can be made low-rank only, without training; leave --method {options.method} away")
    for flag in (flag for flag in WITHOUT_MEANING if getattr(options, flag) not in (None, False, 0.0)):
        raise InputError(
            f"--{flag.replace('_', '-')} says nothing where an ONNX file is decomposed without training; leave it away"
        )
    if options.decomposition == "sequential":
        raise InputError("an ONNX file is decomposed layer by layer on its own; choose --decomposition svd, or data with --data")
    if options.decomposition == "data" and options.data is None:
        raise InputError("--decomposition data needs calibration inputs: --data FILE.npz or a data set")
    if options.plan is None and options.rank is None:
        raise InputError("decomposing an ONNX file needs a rank, such as --rank 1/4, or a --plan")
    source = analyse_onnx(options.model, options.input)
    if options.plan is not None:
        plan = Plan.load(options.plan)
        plan = plan if array is None else replace(plan, array=array)
        check_plan(plan, source.network)
    else:
        plan = uniform_plan(
            source.network, array or DEFAULT_ARRAY, options.groups, options.rank, None, pointwise=options.pointwise,
            linear=options.linear, rules=options.rules, fit=options.fit,
        )  # fmt: skip
    print(coverage_table(coverage(source.network, plan, options.linear)), end="\n\n")
    feeds = None if options.data is None else _feeds(options.data, source)
    for_data = options.decomposition != "svd"
    found = decompose_to_folder(source, plan, options.out, feeds, command_line(), options.seed, for_data)
    print(_table(found))
    print(f"decomposed network: {options.out / 'model.onnx'}")
    return 0


def _feeds(data: str, source: OnnxNetwork) -> list[dict[str, np.ndarray]]:
    """Calibration inputs: arrays of the user's, or images of a data set, normalised by its mean and standard deviation."""
    if Path(data).suffix in (".npz", ".npy"):
        return read_feeds(data, source)
    images = list(islice(_images(data, source), IMAGES))
    size = source.sizes.batch
    if len(source.file.inputs) != 1 or len(images) < size:
        raise InputError(f"data {data} gives single images, and the model takes other inputs; give a .npz of arrays")
    name = source.file.inputs[0].name
    return [{name: np.stack(images[start : start + size])} for start in range(0, len(images) - size + 1, size)]


def _images(data: str, source: OnnxNetwork) -> Iterator[np.ndarray]:
    import torch

    from rankfold.runs.compress import calibration_batches
    from rankfold.training.data import load_images

    loaded = load_images(data, (source.network.input[1], source.network.input[2]))
    if loaded.input_size != source.network.input:
        raise InputError(f"data {data} has images of {loaded.input_size} (C, H, W), the model takes {source.network.input}")
    for batch in calibration_batches(loaded, torch.device("cpu"), 0, IMAGES):
        yield from batch.numpy()


def _table(found: Decomposition) -> str:
    rows = [
        [
            layer.name, str(layer.groups), str(layer.rank), f"{layer.error:.1%}",
            "" if layer.output_error is None else f"{layer.output_error:.1%}", f"{layer.parameters_before:,}",
            f"{layer.parameters_after:,}",
        ]
        for layer in found.layers
    ]  # fmt: skip
    headers = ["layer", "groups", "rank", "weight error", "output error", "weights before", "after"]
    lines = [format_table(headers, rows), "", f"stored numbers: {found.parameters_before:,} -> {found.parameters_after:,}"]
    if found.outputs is None:
        lines.append(f"outputs {found.inputs}")
    else:
        lines += [f"output {name}: relative error {error:.2%} on {found.inputs}" for name, error in found.outputs.items()]
    return "\n".join(lines)
