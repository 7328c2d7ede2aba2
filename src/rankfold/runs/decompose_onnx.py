"""`compress --epochs 0` on an ONNX file: a decomposed ONNX file, its plan, and what it costs in error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankfold import run_files
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.onnx import Feed, Runner, layer_moments, output_errors, random_feeds
from rankfold.errors import InputError
from rankfold.files import check_vacant, replacing_folder, write_json
from rankfold.plan.plan import Plan
from rankfold.progress import Progress, Silent, counted
from rankfold.records.typed import typed
from rankfold.runs.cost_record import NetworkCost, dense_cost, network_cost
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.surgery.onnx.kinds import DecomposedLayer
from rankfold.workload.onnx.file import import_onnx
from rankfold.workload.onnx.layers import OnnxNetwork
from rankfold.workload.onnx.save import save_onnx, with_weights

TYPE, VERSION = "rankfold.decomposition", 1
RANDOM_BATCHES = 4
NOT_COMPARED = "not compared: onnxruntime is not installed (pip install 'rankfold[onnx]')"


@dataclass(frozen=True, kw_only=True)
class Decomposition:
    """What decomposing an ONNX file did.

    Attributes:
        layers: those that changed.
        outputs: relative error of each output of the network, None where onnxruntime is not installed.
        inputs: what the outputs were compared on, in words.
        parameters_before: stored numbers of the file.
        parameters_after: stored numbers of the decomposed file.
        dense: what the network costs on the plan's arrays before.
        low_rank: and after.
    """

    layers: tuple[DecomposedLayer, ...]
    outputs: dict[str, float] | None
    inputs: str
    parameters_before: int
    parameters_after: int
    dense: NetworkCost
    low_rank: NetworkCost

    def to_json(self) -> dict[str, Any]:
        """What `decomposition.json` says of it."""
        return {**asdict(self), "layers": [layer.to_json() for layer in self.layers]}


def decompose_to_folder(
    source: OnnxNetwork,
    plan: Plan,
    folder: str | Path,
    feeds: Sequence[Feed] | None = None,
    *,
    command: str = "",
    seed: int = 0,
    for_data: bool = True,
    progress: Progress | None = None,
) -> Decomposition:
    """Write `model.onnx`, `plan.json` and `decomposition.json` into `folder`.

    All of them appear together at the end; what an earlier, killed call left half-made is removed.

    Args:
        source: the model.
        plan: a plan for it, without bits.
        folder: where to write; it must be new or empty.
        feeds: calibration inputs, batches by input name, on which outputs are compared; None: random ones.
        command: the command line, for the record.
        seed: of the random inputs.
        for_data: with `feeds`, make factors that keep the layers' outputs on them, instead of those nearest
            to the weights.
        progress: hears how far it is.

    Raises:
        InputError: the folder is not empty, the plan does not fit, or the inputs do not.
    """
    progress = progress or Silent()
    target = Path(folder)
    # Before any work: decomposing for data can take minutes.
    check_vacant(target)
    moments = None
    if feeds is not None and for_data:
        moments = _moments(source, plan, feeds, progress)
    model, layers = decompose_onnx(source, plan, moments, progress)
    # On the calibration inputs where there are any, else on random ones: both are said with the error.
    outputs, inputs = _compared(source, model, feeds, seed, progress)
    saved = sum(layer.parameters_before - layer.parameters_after for layer in layers)
    decomposition = Decomposition(
        layers=layers,
        outputs=outputs,
        inputs=inputs,
        parameters_before=source.file.parameters,
        parameters_after=source.file.parameters - saved,
        dense=dense_cost(source.network, plan),
        low_rank=network_cost(source.network, plan),
    )
    content = {"model": str(source.file.path), "command": command, **decomposition.to_json()}
    record = typed(TYPE, VERSION, content)
    # The record comes last into place: a folder that has it is whole.
    with replacing_folder(target, last=run_files.DECOMPOSITION) as made:
        save_onnx(made / "model.onnx", model)
        plan.save(made / run_files.PLAN)
        write_json(made / run_files.DECOMPOSITION, record)
    return decomposition


def _moments(
    source: OnnxNetwork, plan: Plan, feeds: Sequence[Feed], progress: Progress
) -> Mapping[str, PatchMoments]:
    """Those of the inputs of layers whose weights can be made for data."""
    wanted = set()
    for layer in plan.layers:
        if layer.kind.made_for_data:
            wanted.add(layer.name)
    # A weight may have several places, whose moments are those of one layer.
    places = [place for place in source.layers if place.shape.weight in wanted]
    batches = counted(feeds, progress, "looking at inputs", len(feeds), "batches")
    return layer_moments(source, places, batches)


def _compared(
    source: OnnxNetwork, model: Any, feeds: Sequence[Feed] | None, seed: int, progress: Progress
) -> tuple[dict[str, float] | None, str]:
    """The relative error of each output, and what it was measured on, in words."""
    runners = _runners(source, model)
    if runners is None:
        return None, NOT_COMPARED
    if feeds is not None:
        batches = counted(feeds, progress, "comparing", len(feeds), "batches")
        return output_errors(*runners, batches), "the calibration inputs"
    drawn = counted(
        random_feeds(source, RANDOM_BATCHES, seed), progress, "comparing", RANDOM_BATCHES, "batches"
    )
    return output_errors(*runners, drawn), f"{RANDOM_BATCHES} batches of normal numbers, seed {seed}"


def _runners(source: OnnxNetwork, model: Any) -> tuple[Runner, Runner] | None:
    """The model before and after, ready to run; None where onnxruntime is not installed."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return None
    # Weights above two gigabytes can only be read from the file.
    before = with_weights(source.file) if source.file.resized else source.file.path
    return Runner(before), Runner(model)


def read_feeds(path: str | Path, source: OnnxNetwork) -> list[dict[str, np.ndarray]]:
    """Calibration inputs from a `.npz` file (arrays by input name) or a `.npy` file (of the only input).

    The first dimension counts samples. They come in batches of as many as the model takes (one, where that is
    open); what is left over at the end is dropped.

    Raises:
        InputError: the file is missing or damaged, or its arrays are not what the model takes.
    """
    # By name, as the order of inputs in a file is nobody's promise.
    names = [value.name for value in source.file.inputs]
    arrays = _read_arrays(path, names)
    if set(arrays) != set(names):
        held = ", ".join(sorted(arrays))
        raise InputError(f"{path} holds {held}, and the model takes {', '.join(names)}")
    count = min(_samples(array) for array in arrays.values())
    size = source.sizes.batch
    dtype_of = import_onnx().helper.tensor_dtype_to_np_dtype
    for value in source.file.inputs:
        # ONNX numbers its types.
        dtype = np.dtype(dtype_of(value.type.tensor_type.elem_type))
        array = arrays[value.name]
        _check_sizes(path, value.name, array, source, count)
        arrays[value.name] = _in_type(path, value.name, array, dtype)
    feeds = []
    # A batch of another size is not what the model was read with.
    for start in range(0, count - size + 1, size):
        feed = {}
        for name, array in arrays.items():
            feed[name] = array[start : start + size]
        feeds.append(feed)
    return feeds


def _read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by name; a single one has the first of `names`."""
    why = "it holds no plain arrays, or is damaged"
    try:
        with open(path, "rb") as file:
            # Without pickles: a file of somebody else's must not run code.
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {names[0]: content}
            # Read here, where the file is open and errors are caught.
            arrays = dict(content)
        # A zip may hold other files than arrays, which NumPy gives as bytes.
        if all(isinstance(array, np.ndarray) for array in arrays.values()):
            return arrays
    except OSError as error:
        why = error.strerror or why
    except Exception:
        # NumPy, its reader of zips and that of headers have many kinds of errors for damaged files.
        pass
    raise InputError(f"cannot read calibration inputs {path}: {why}; give a .npz with arrays by input name")


def _samples(array: np.ndarray) -> int:
    if not array.ndim:
        return 0
    return len(array)


def _check_sizes(path: str | Path, name: str, array: np.ndarray, source: OnnxNetwork, count: int) -> None:
    """Refuse an array that is no sequence of what the model takes, or has another length than the others."""
    wanted = source.sizes.inputs[name][1:]
    size = source.sizes.batch
    if _samples(array) != count or count < size or array.shape[1:] != tuple(wanted):
        shown = "x".join(map(str, ("N", *wanted)))
        raise InputError(
            f"{path}: {name} has shape {array.shape}, and the model takes {shown}, N at least {size}"
        )


def _in_type(path: str | Path, name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in the type that the model takes."""
    # NumPy makes numbers of 64 bits where nobody says otherwise.
    if np.issubdtype(array.dtype, np.floating) and np.issubdtype(dtype, np.floating):
        return array.astype(dtype)
    # Other types are not converted: a number that does not fit would change unseen.
    if array.dtype != dtype:
        raise InputError(f"{path}: {name} holds {array.dtype}, and the model takes {dtype}; convert it")
    return array
