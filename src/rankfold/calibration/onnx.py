"""Running ONNX models: their outputs, the moments of their layers' inputs, and how far two of them differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rankfold.calibration.moment_sums import MomentSums
from rankfold.calibration.moments import LARGEST_MOMENTS, PatchMoments
from rankfold.errors import InputError, MissingDependencyError, first_line
from rankfold.workload.onnx.file import import_onnx
from rankfold.workload.onnx.layers import OnnxLayer, OnnxNetwork
from rankfold.workload.onnx.save import with_weights

Feed = Mapping[str, np.ndarray]  # one batch of inputs by name


class Runner:
    """An ONNX model in onnxruntime, on the processor.

    Args:
        model: an `onnx.ModelProto` with its weights inside, or a path.
        threads: of the processor; 0: all.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        InputError: onnxruntime refuses the model.
    """

    def __init__(self, model: Any, threads: int = 0) -> None:
        self.session = _session(model, threads)
        self.inputs = tuple(entry.name for entry in self.session.get_inputs())
        self.outputs = tuple(entry.name for entry in self.session.get_outputs())

    def __call__(self, feed: Feed, outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """The outputs (all by default) for one batch of inputs by name.

        Raises:
            InputError: onnxruntime fails on these inputs.
        """
        wanted = None
        if outputs is not None:
            wanted = list(outputs)
        try:
            values = self.session.run(wanted, dict(feed))
        except Exception as error:
            raise InputError(f"onnxruntime fails on these inputs: {first_line(error)}") from error
        return [np.asarray(value) for value in values]


def _session(model: Any, threads: int) -> Any:
    """The `onnxruntime.InferenceSession` of a model."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError(
            "running an ONNX model needs the package onnxruntime, which is not installed: "
            "pip install 'rankfold[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone; they are raised as well
    try:
        source: Any
        if isinstance(model, (str, Path)):
            source = str(model)
        else:
            source = model.SerializeToString()
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime has many kinds of its own, and protobuf one for models above two gigabytes.
        raise InputError(f"onnxruntime cannot load the model: {first_line(error)}") from error


def random_feeds(
    source: OnnxNetwork,
    count: int,
    seed: int,
) -> list[dict[str, np.ndarray]]:
    """`count` batches of normal numbers (whole numbers: zeros) of the sizes that the model was read with."""
    helper = import_onnx().helper
    draw = np.random.default_rng(seed)
    feeds: list[dict[str, np.ndarray]] = []
    for _ in range(count):
        feed: dict[str, np.ndarray] = {}
        for value in source.file.inputs:
            kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            sizes = source.sizes.inputs[value.name]
            if np.issubdtype(kind, np.floating):
                normal = draw.normal(size=sizes)
                feed[value.name] = normal.astype(kind)
            else:
                # Indices and lengths, for which zero is always right.
                feed[value.name] = np.zeros(sizes, kind)
        feeds.append(feed)
    return feeds


def layer_moments(
    source: OnnxNetwork,
    layers: Sequence[OnnxLayer],
    feeds: Iterable[Feed],
) -> dict[str, PatchMoments]:
    """The moments of the inputs of layers, by the name of their weight; those of one weight are averaged.

    All patches of every image are taken. Layers of more than 8,192 inputs, whose moments would take
    gigabytes, are left out.

    Args:
        source: the model.
        layers: of it.
        feeds: calibration inputs, batches by input name.

    Raises:
        InputError: there are no inputs.
        MissingDependencyError: onnxruntime is not installed.
    """
    chosen = [layer for layer in layers if layer.shape.n <= LARGEST_MOMENTS]
    if not chosen:
        return {}
    # Several layers may read one value.
    values_read: list[str] = []
    for layer in chosen:
        if _value_read(layer) not in values_read:
            values_read.append(_value_read(layer))
    runner = Runner(_showing(source, values_read))
    sums = {layer.shape.weight: MomentSums(sampled=False) for layer in chosen}
    for feed in feeds:
        arrays = runner(feed, values_read)
        values = dict(zip(values_read, arrays, strict=True))  # by name
        for layer in chosen:
            value = values[_value_read(layer)]
            inputs = torch.tensor(value, dtype=torch.float64)
            gathered = sums[layer.shape.weight]
            gathered.add(layer.shape, inputs)
    moments: dict[str, PatchMoments] = {}
    for weight, gathered in sums.items():
        if gathered.count == 0:
            raise InputError("there are no calibration inputs; give at least one batch")
        moments[weight] = gathered.moments()
    return moments


def _value_read(layer: OnnxLayer) -> str:
    return str(layer.node.input[0])


def _showing(source: OnnxNetwork, values: Iterable[str]) -> Any:
    """The model with its weights inside and these values among its outputs."""
    helper = import_onnx().helper
    model = with_weights(source.file)
    # A value need not be named by its type to be shown; onnxruntime infers it.
    outputs = model.graph.output
    shown = {output.name for output in outputs}
    for name in values:
        if name not in shown:
            outputs.append(helper.make_empty_tensor_value_info(name))
    return model


def output_errors(
    before: Runner,
    after: Runner,
    feeds: Iterable[Feed],
) -> dict[str, float]:
    """||y' - y||_F / ||y||_F over all batches, for each floating output by name.

    Raises:
        InputError: the models have other outputs, or there are no inputs.
    """
    if before.outputs != after.outputs:
        raise InputError("the two models have outputs of other names, so they cannot be compared")
    lost: dict[str, float] = defaultdict(float)
    power: dict[str, float] = defaultdict(float)
    for feed in feeds:
        # Batch by batch: outputs of many would fill the memory.
        outputs = zip(before.outputs, before(feed), after(feed), strict=True)
        for name, y, other in outputs:
            # Classes or boxes by number have no distance.
            if not np.issubdtype(y.dtype, np.floating):
                continue
            y = y.astype(np.float64)
            difference = other.astype(np.float64) - y
            lost[name] += _squares(difference)
            power[name] += _squares(y)
    if not lost:
        raise InputError("there is no batch of inputs, or no floating output, to compare the two models on")
    errors: dict[str, float] = {}
    for name, squares in lost.items():
        errors[name] = _relative(squares, power[name])
    return errors


def _squares(values: np.ndarray) -> float:
    return float(np.sum(values**2))


def _relative(lost: float, power: float) -> float:
    """The square root of lost / power; of an output that is all zero, whether anything was lost."""
    if power == 0:
        return float(lost > 0)
    return float(np.sqrt(lost / power))
