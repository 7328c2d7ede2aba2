"""Real ONNX networks that a Python package ships, mapped, planned and decomposed without edits.

Claim: the three networks of rapidocr-onnxruntime (PaddleOCR's text detector, text recogniser and direction
classifier; opsets 11 and 12, dynamic sizes) go through `rankfold map` and `rankfold compress --epochs 0` as
they are.

    pip install --no-deps rapidocr-onnxruntime==1.4.4   # the networks lie in the package; its code is not run
    python benchmarks/onnx_networks.py results/onnx-networks.csv

Inputs are lines of text drawn with Pillow (fixed seeds): 64 for calibration, 32 others to compare outputs
on. For each network, share of the output channels kept as rank, and decomposition: cycles on 128x128
arrays, stored numbers, relative error of the output, and how often the strongest class of an output
position (a column of the recogniser, the whole line of the classifier, a pixel of the detector above its
threshold of 0.3) is still the same.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rankfold.calibration.onnx import Runner, layer_moments, output_errors
from rankfold.cost import network_cycles
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.surgery.onnx.decompose import decompose_onnx
from rankfold.workload.onnx.layers import OnnxNetwork, analyse_onnx

NETWORKS = {
    "detector": ("ch_PP-OCRv4_det_infer.onnx", (3, 320, 320)),
    "recogniser": ("ch_PP-OCRv4_rec_infer.onnx", (3, 48, 320)),
    "classifier": ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192)),
}
RANKS = ("3/4", "1/2", "1/4")
ARRAY = ArraySpec(128, 128)
CALIBRATION, COMPARED, THRESHOLD = 64, 32, 0.3
Feeds = list[dict[str, np.ndarray]]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True)
class Network:
    """A network and what it is measured on.

    Attributes:
        name: one of `NETWORKS`.
        source: the file.
        seconds: that reading it took.
        known: lines of text for calibration.
        new: others, to compare outputs on.
        dense_cycles: of the network as it is.
    """

    name: str
    source: OnnxNetwork
    seconds: float
    known: Feeds
    new: Feeds
    dense_cycles: int


def main() -> None:
    out = Path(sys.argv[1])
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    if spec is None or spec.origin is None:
        sys.exit("pip install --no-deps rapidocr-onnxruntime==1.4.4 first")
    rows = []
    for name in NETWORKS:
        network = read(name, Path(spec.origin).parent / "models")
        for rank in RANKS:
            method = LowRank(rank=rank, pointwise=True, linear=True, fit=True, force=True)
            plan = uniform_plan(network.source.network, ARRAY, method)
            for decomposition in ("svd", "data"):
                rows.append(measured(network, plan, rank, decomposition))
                print(rows[-1], flush=True)
    with out.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(name: str, folder: Path) -> Network:
    """Read a network, and draw its inputs."""
    file, image = NETWORKS[name]
    begin = time.perf_counter()
    source = analyse_onnx(folder / file, image)
    seconds = time.perf_counter() - begin
    dense = network_cycles(source.network, uniform_plan(source.network, ARRAY), linear=True)
    known = texts(name, image, 0, CALIBRATION)
    new = texts(name, image, CALIBRATION, COMPARED)
    return Network(name, source, seconds, known, new, dense.chosen_cycles)


def measured(network: Network, plan: Plan, rank: str, decomposition: str) -> dict[str, object]:
    """Decompose and measure."""
    source = network.source
    changed = {layer.name for layer in plan.changed}
    low_rank = [place for place in source.layers if place.shape.weight in changed]
    begin = time.perf_counter()
    moments = None
    if decomposition == "data":
        moments = layer_moments(source, low_rank, network.known)
    model, layers = decompose_onnx(source, plan, moments)
    seconds = time.perf_counter() - begin
    before, after = Runner(source.file.path, 1), Runner(model, 1)
    (error,) = output_errors(before, after, network.new).values()
    same = [
        np.mean(classes(network.name, before(feed)[0]) == classes(network.name, after(feed)[0]))
        for feed in network.new
    ]
    added = sum(layer.parameters_after - layer.parameters_before for layer in layers)
    return {
        "network": network.name,
        "layers": len(source.layers),
        "left_alone": len(source.untouched),
        "low_rank": len(low_rank),
        "rank": rank,
        "decomposition": decomposition,
        "dense_cycles": network.dense_cycles,
        "cycles": network_cycles(source.network, plan, linear=True).chosen_cycles,
        "stored_before": source.file.parameters,
        "stored_after": source.file.parameters + added,
        "output_error": f"{error:.4f}",
        "same_class": f"{np.mean(same):.4f}",
        "seconds_to_read": f"{network.seconds:.2f}",
        "seconds_to_decompose": f"{seconds:.1f}",
    }


def classes(name: str, output: np.ndarray) -> np.ndarray:
    """What the network says at each position of its output."""
    if name == "detector":
        return output > THRESHOLD
    return output.argmax(-1)


def texts(name: str, image: tuple[int, int, int], first: int, count: int) -> Feeds:
    """Lines of text, normalised as the package does it.

    To -1..1; for the detector by the mean and the deviation of ImageNet.
    """
    mean = deviation = np.full(3, 0.5, np.float32)
    if name == "detector":
        mean = np.float32([0.485, 0.456, 0.406])
        deviation = np.float32([0.229, 0.224, 0.225])
    _, height, width = image
    feeds = []
    for number in range(first, first + count):
        page = drawn(np.random.default_rng(number), height, width)
        x = np.asarray(page, np.float32).transpose(2, 0, 1) / 255
        feeds.append({"x": ((x - mean[:, None, None]) / deviation[:, None, None])[None]})
    return feeds


def drawn(draw: np.random.Generator, height: int, width: int) -> Image.Image:
    """A bright page with dark letters: several lines of them, where there is room."""
    page = Image.new("RGB", (width, height), tuple(int(value) for value in draw.integers(180, 256, 3)))
    font = ImageFont.load_default(min(height - 16, 28))
    tops, letters = [8], width // 22
    if height > 48:
        tops, letters = list(range(8, height - 24, 44)), 14
    for top in tops:
        words = "".join(draw.choice(list(LETTERS), letters))
        ink = tuple(int(value) for value in draw.integers(0, 90, 3))
        ImageDraw.Draw(page).text((6, top), words, fill=ink, font=font)
    return page


if __name__ == "__main__":
    main()
