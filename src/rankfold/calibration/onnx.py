"""Running ONNX models: their outputs, the moments of their layers' inputs, and how far two of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.errors import InputError, MissingDependencyError, first_line
from rankfold.workload.onnx.file import import_onnx
from rankfold.workload.onnx.layers import OnnxLayer, OnnxNetwork
from rankfold.workload.shape import ConvShape

Feed = Mapping[str, np.ndarray]
LARGEST_MOMENTS = 8192  # inputs of a layer whose moments are gathered: half a gigabyte


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
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependencyError(
                "running an ONNX model needs the package onnxruntime, which is not installed: pip install 'rankfold[onnx]'"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            source = str(model) if isinstance(model, (str, Path)) else model.SerializeToString()
            self.session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has many kinds of its own, and protobuf one for models above two gigabytes
            raise InputError(f"onnxruntime cannot load the model: {first_line(error)}") from error
        self.inputs = tuple(entry.name for entry in self.session.get_inputs())
        self.outputs = tuple(entry.name for entry in self.session.get_outputs())

    def __call__(self, feed: Feed, outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """The outputs (all by default) for one batch of inputs by name.

        Raises:
            InputError: onnxruntime fails on these inputs.
        """
        try:
            return [np.asarray(value) for value in self.session.run(None if outputs is None else list(outputs), dict(feed))]
        except Exception as error:
            raise InputError(f"onnxruntime fails on these inputs: {first_line(error)}") from error


def random_feeds(source: OnnxNetwork, count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """`count` batches of normal numbers (whole numbers: zeros) of the sizes that the model was read with."""
    helper = import_onnx().helper
    draw = np.random.default_rng(seed)
    feeds = []
    for _ in range(count):
        feed = {}
        for value in source.file.inputs:
            kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            sizes = source.sizes.inputs[value.name]
            real = np.issubdtype(kind, np.floating)
            feed[value.name] = draw.normal(size=sizes).astype(kind) if real else np.zeros(sizes, kind)
        feeds.append(feed)
    return feeds


def layer_moments(source: OnnxNetwork, layers: Sequence[OnnxLayer], feeds: Iterable[Feed]) -> dict[str, np.ndarray]:
    """(G, n, n) second moments of the inputs of layers, by the name of their weight; those of one weight are averaged.

    Layers of more than 8,192 inputs, whose moments would take gigabytes, are left out.

    Raises:
        InputError: there are no inputs.
    """
    onnx = import_onnx()
    chosen = [layer for layer in layers if layer.shape.n <= LARGEST_MOMENTS]
    if not chosen:
        return {}
    model = onnx.ModelProto()
    model.CopyFrom(source.file.model)
    onnx.external_data_helper.load_external_data_for_model(model, str(source.file.path.parent))
    names = list(dict.fromkeys(layer.node.input[0] for layer in chosen))
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    runner = Runner(model)
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for feed in feeds:
        values = dict(zip(names, runner(feed, names), strict=True))
        for layer in chosen:
            patches = _patches(layer.shape, values[layer.node.input[0]])  # (G, n, P)
            name = layer.shape.weight
            sums[name] = sums.get(name, 0.0) + patches @ patches.swapaxes(1, 2)
            counts[name] = counts.get(name, 0) + patches.shape[2]
    if not counts:
        raise InputError("there are no calibration inputs; give at least one batch")
    return {name: total / counts[name] for name, total in sums.items()}


def _patches(shape: ConvShape, x: np.ndarray) -> np.ndarray:
    """(G, n, P) inputs of every output pixel, in float64."""
    if shape.kind == "linear":
        return x.astype(np.float64).reshape(-1, shape.in_channels).T[None]
    top, bottom, left, right = shape.padding
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    (kh, kw), (sy, sx), (dy, dx) = shape.kernel, shape.stride, shape.dilation
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape.extent, (2, 3))  # (B, C, Y, X, eh, ew)
    windows = windows[:, :, ::sy, ::sx, ::dy, ::dx]  # (B, C, OH, OW, kh, kw)
    batch, channels, height, width = windows.shape[:4]
    groups = shape.groups
    columns = windows.reshape(batch, groups, channels // groups, height, width, kh, kw)
    return columns.transpose(1, 2, 5, 6, 0, 3, 4).reshape(groups, -1, batch * height * width)


def output_errors(before: Runner, after: Runner, feeds: Iterable[Feed]) -> dict[str, float]:
    """||y' - y||_F / ||y||_F over all batches, for each floating output by name.

    Raises:
        InputError: the models have other outputs, or there are no inputs.
    """
    if before.outputs != after.outputs:
        raise InputError("the two models have outputs of other names, so they cannot be compared")
    lost: dict[str, float] = {}
    power: dict[str, float] = {}
    for feed in feeds:
        for name, y, other in zip(before.outputs, before(feed), after(feed), strict=True):
            if np.issubdtype(y.dtype, np.floating):
                lost[name] = lost.get(name, 0.0) + float(np.sum((other.astype(np.float64) - y) ** 2))
                power[name] = power.get(name, 0.0) + float(np.sum(y.astype(np.float64) ** 2))
    if not lost:
        raise InputError("there is no batch of inputs, or no floating output, to compare the two models on")
    return {name: float(np.sqrt(lost[name] / power[name])) if power[name] else float(lost[name] > 0) for name in lost}
