"""`compress --epochs 0` on an ONNX file: a decomposed ONNX file, its plan, and what it costs in error."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankfold.calibration.onnx import Feed, Runner, layer_moments, output_errors, random_feeds
from rankfold.errors import InputError
from rankfold.files import check_vacant, replacing_folder, write_json
from rankfold.plan import LOW_RANK, Plan
from rankfold.surgery.onnx.decompose import DecomposedLayer, decompose_onnx, save_onnx
from rankfold.workload.onnx.file import import_onnx
from rankfold.workload.onnx.layers import OnnxNetwork

TYPE, VERSION = "rankfold.decomposition", 1
RECORD = "decomposition.json"
RANDOM_BATCHES = 4


@dataclass(frozen=True)
class Decomposition:
    """What decomposing an ONNX file did.

    Attributes:
        layers: the low-rank layers.
        outputs: relative error of each output of the network, None where onnxruntime is not installed.
        inputs: what the outputs were compared on, in words.
        parameters_before: stored numbers of the file.
        parameters_after: stored numbers of the decomposed file.
    """

    layers: tuple[DecomposedLayer, ...]
    outputs: dict[str, float] | None
    inputs: str
    parameters_before: int
    parameters_after: int


def decompose_to_folder(
    source: OnnxNetwork, plan: Plan, folder: str | Path, feeds: Sequence[Feed] | None = None, command: str = "", seed: int = 0,
    for_data: bool = True,
) -> Decomposition:  # fmt: skip
    """Write `model.onnx`, `plan.json` and `decomposition.json` into `folder`.

    All of them appear together at the end; what an earlier, killed call left half-made is removed.

    Args:
        source: the model.
        plan: a plan for it, without bits.
        folder: where to write; it must be new or empty.
        feeds: calibration inputs, batches by input name, on which outputs are compared; None: random ones.
        command: the command line, for the record.
        seed: of the random inputs.
        for_data: with `feeds`, make factors that keep the layers' outputs on them, instead of those nearest to the weights.

    Raises:
        InputError: the folder is not empty, the plan does not fit, or the inputs do not.
    """
    target = Path(folder)
    check_vacant(target)
    moments = None
    if feeds is not None and for_data:
        chosen = {layer.name for layer in plan.layers if layer.kind == LOW_RANK}
        moments = layer_moments(source, [layer for layer in source.layers if layer.shape.weight in chosen], feeds)
    model, layers = decompose_onnx(source, plan, moments)
    outputs, words = None, "not compared: onnxruntime is not installed (pip install 'rankfold[onnx]')"
    compared = _runners(source, model)
    if compared is not None:
        given = random_feeds(source, RANDOM_BATCHES, seed) if feeds is None else feeds
        outputs = output_errors(*compared, given)
        words = f"{RANDOM_BATCHES} batches of normal numbers, seed {seed}" if feeds is None else "the calibration inputs"
    before = source.file.parameters
    after = before + sum(layer.parameters_after - layer.parameters_before for layer in layers)
    found = Decomposition(layers, outputs, words, before, after)
    record = {"_type": TYPE, "_version": VERSION, "model": str(source.file.path), "command": command, **asdict(found)}
    with replacing_folder(target, last=RECORD) as made:
        save_onnx(made / "model.onnx", model)
        plan.save(made / "plan.json")
        write_json(made / RECORD, record)
    return found


def read_feeds(path: str | Path, source: OnnxNetwork) -> list[dict[str, np.ndarray]]:
    """Calibration inputs from a `.npz` file (arrays by input name) or a `.npy` file (of the only input), as single batches.

    The first dimension counts samples; each batch has as many as the model takes (one, where that is open).

    Raises:
        InputError: the file is missing or damaged, or its arrays are not what the model takes.
    """
    onnx_type = import_onnx().helper.tensor_dtype_to_np_dtype
    names = [value.name for value in source.file.inputs]
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            alone = isinstance(content, np.ndarray)
            arrays: dict[str, Any] = {names[0]: content} if alone else {key: content[key] for key in content}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it holds no plain arrays, or is damaged"
        raise InputError(f"cannot read calibration inputs {path}: {why}; give a .npz with arrays by input name") from None
    if set(arrays) != set(names):
        raise InputError(f"{path} holds {', '.join(sorted(arrays))}, and the model takes {', '.join(names)}")
    size, count = source.sizes.batch, min(array.shape[0] if array.ndim else 0 for array in arrays.values())
    kinds = {value.name: onnx_type(value.type.tensor_type.elem_type) for value in source.file.inputs}
    for name, array in arrays.items():
        wanted = source.sizes.inputs[name]
        if not array.ndim or array.shape[1:] != wanted[1:] or len(array) != count or count < size:
            shown = "x".join(map(str, ("N", *wanted[1:])))
            raise InputError(f"{path}: {name} has shape {array.shape}, and the model takes {shown}, N at least {size}")
        if np.issubdtype(array.dtype, np.floating) and np.issubdtype(kinds[name], np.floating):
            arrays[name] = array = array.astype(kinds[name])  # NumPy makes numbers of 64 bits where nobody says otherwise
        if array.dtype != kinds[name]:
            raise InputError(f"{path}: {name} holds {array.dtype}, and the model takes {np.dtype(kinds[name])}; convert it")
    return [{name: array[start : start + size] for name, array in arrays.items()} for start in range(0, count - size + 1, size)]


def _runners(source: OnnxNetwork, model: Any) -> tuple[Runner, Runner] | None:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return None
    return Runner(source.file.path), Runner(model)
