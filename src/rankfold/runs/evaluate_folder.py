"""The accuracy of a compressed network in a folder, beside what its run reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from rankfold.calibration.output_choice import output_loss
from rankfold.calibration.outputs import OutputModel
from rankfold.calibration.samples import MOMENT_IMAGES, Samples, size_of
from rankfold.errors import InputError
from rankfold.models.load import apply_weights, brings_weights, read_weights
from rankfold.models.pretrained import shipped_baseline
from rankfold.progress import Progress, Silent, heard
from rankfold.runs.baseline import weights_digest
from rankfold.runs.evaluate import evaluate, load_data_for
from rankfold.runs.result import Result
from rankfold.runs.stored import StoredNetwork, data_for, dense_network
from rankfold.training.data import ImageData
from rankfold.training.device import choose_device
from rankfold.training.metric import Metric
from rankfold.training.shift import shifted_test
from rankfold.training.unlabelled import ArrayData, Likeness, is_arrays


@dataclass(frozen=True)
class Evaluation:
    """Top-1 accuracy on the test split, 0 to 1, a metric, or the likeness to the original network: now, and
    as the run reported it.

    Attributes:
        accuracy: now, or the value of the metric.
        reported: by the run; None: the folder is one of `save`, or the run says nothing of this metric.
        images: how many there are.
        same_data: whether it was on the same data.
        shift: pixels by which the test images were moved.
        metric: its name, or that of the likeness; empty: top-1 accuracy.
    """

    accuracy: float
    reported: float | None
    images: int
    same_data: bool
    shift: int = 0
    metric: str = ""


def evaluate_folder(
    path: str | Path,
    data: str,
    device: str = "auto",
    *,
    factory: str | None = None,
    trust_code: bool = False,
    shift: int = 0,
    metric: Metric | None = None,
    checkpoint: Path | None = None,
    outputs: OutputModel | str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate the network in folder `path` on the test split of `data`: without labels and a metric by what
    it gives beside the original network.

    Args:
        path: the folder of a finished run, or one of `save`.
        data: a data source, as `load_images` takes it, or a .npz or .npy file.
        device: `auto`, `cpu`, `cuda`, ...
        factory: what builds the dense network; None: the name on record.
        trust_code: whether a factory that the folder names may be imported.
        shift: pixels by which the test images are moved, see `shifted_test`.
        metric: what the network is measured by; None: top-1 accuracy.
        checkpoint: weights of the original network; None: it has them, or they are shipped.
        outputs: what outputs are taken for without labels and a metric, see `output_loss`.
        progress: hears how far it is.

    Raises:
        InputError: the folder or the data is wrong, the data has other classes or image sizes, or the shift
            is as large as an image; or there are neither labels nor a metric nor the original's weights.
    """
    stored = StoredNetwork.load(path, factory=factory, device=device, trust_code=trust_code)
    samples = _samples_for(stored, data, Path(path))
    if shift and not isinstance(samples, ImageData):
        raise InputError(f"a shift moves images, and data {data} are arrays; omit it")
    moved = shifted_test(samples, shift) if isinstance(samples, ImageData) else samples
    count, name = samples.test_images, "" if metric is None else metric.name
    if metric is None and not samples.is_labelled:
        target = choose_device(device)
        likeness = _likeness(
            stored, samples, Path(path), checkpoint=checkpoint, outputs=outputs, device=target
        )
        batches = heard(moved.test_batches(target), progress or Silent(), "evaluation", count, size_of)
        measured, name = likeness(stored.model, batches), likeness.name
    else:
        if checkpoint is not None or outputs is not None:
            raise InputError("checkpoint and outputs compare networks without labels and a metric; omit them")
        measured = evaluate(stored.model, moved, metric=metric, progress=progress)
    if stored.result is None:
        return Evaluation(measured, None, count, False, shift, name)
    # Of other data another accuracy is no surprise.
    same = shift == 0 and samples.digest == stored.result.data.digest
    return Evaluation(measured, _reported(stored.result, name), count, same, shift, name)


def _likeness(
    stored: StoredNetwork,
    samples: ImageData | ArrayData,
    path: Path,
    *,
    checkpoint: Path | None,
    outputs: OutputModel | str | None,
    device: torch.device,
) -> Likeness:
    """What a network is measured by without labels: the original one.

    Raises:
        InputError: nobody has its weights, or they are not those that the network was made from.
    """
    original, _ = dense_network(path, stored.plan, stored.factory, stored.classes)
    source = checkpoint
    if source is None and not brings_weights(stored.factory):
        shipped = shipped_baseline(stored.factory, stored.classes, stored.plan.input)
        if shipped is None:
            raise InputError(
                f"without labels the network of {path} is compared with the original, whose weights it does "
                "not hold; give them (checkpoint=), a metric for data with targets (metric=), or data with "
                "labels"
            )
        source = shipped.weights
    if source is not None:
        apply_weights(original, read_weights(source), str(source))
    result = stored.result
    if result is not None and result.dense_weights not in (None, weights_digest(original)):
        raise InputError(
            f"{source or stored.factory} has other weights than the network of {path} was made from; give "
            "those (checkpoint=)"
        )
    original.to(device)
    batches = Samples(samples.calibration_batches(MOMENT_IMAGES, device), MOMENT_IMAGES, device)
    return Likeness(original, output_loss(original, batches, outputs))


def _samples_for(stored: StoredNetwork, data: str, path: Path) -> ImageData | ArrayData:
    """The data that a network is evaluated on."""
    if is_arrays(data):
        return ArrayData(data)
    if stored.result is not None:
        return load_data_for(stored.result, data, path)
    return data_for(stored.plan, stored.classes, data, path)


def _reported(result: Result, metric: str) -> float | None:
    """What a run says of its network at the end by this measure; None: nothing."""
    if result.accuracy.measured == (metric or "accuracy"):
        return result.accuracy.final
    if result.metric is None or result.metric.name != metric:
        return None
    return result.metric.final
