"""Real ONNX networks that a Python package ships, mapped, planned and decomposed without edits.

Claim: the three networks of rapidocr-onnxruntime (PaddleOCR's text detector, text recogniser and direction classifier; opsets 11
and 12, dynamic sizes) go through `rankfold map` and `rankfold compress --epochs 0` as they are.

    pip install --no-deps rapidocr-onnxruntime==1.4.4   # the networks lie in the package; its code is not run
    python benchmarks/onnx_networks.py results/onnx-networks.csv

Inputs are lines of text drawn with Pillow (fixed seeds): 64 for calibration, 32 others to compare outputs on. For each network,
share of the output channels kept as rank, and decomposition: cycles on 128x128 arrays, stored numbers, relative error of the
output, and how often the strongest class of an output position (a column of the recogniser, the whole line of the classifier, a
pixel of the detector above its threshold of 0.3) is still the same.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rankfold.calibration.onnx import Runner, layer_moments, output_errors
from rankfold.cost import network_cycles
from rankfold.mapping import ArraySpec
from rankfold.plan import LOW_RANK, Plan, uniform_plan
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
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def main() -> None:
    out = Path(sys.argv[1])
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    if spec is None or spec.origin is None:
        sys.exit("pip install --no-deps rapidocr-onnxruntime==1.4.4 first")
    rows = []
    for name, (file, image) in NETWORKS.items():
        path = Path(spec.origin).parent / "models" / file
        begin = time.perf_counter()
        source = analyse_onnx(path, image)
        read = time.perf_counter() - begin
        before = Runner(path, 1)
        known, new = texts(name, image, 0, CALIBRATION), texts(name, image, CALIBRATION, COMPARED)
        dense = network_cycles(source.network, uniform_plan(source.network, ARRAY), linear=True)
        for rank in RANKS:
            plan = uniform_plan(source.network, ARRAY, 1, rank, pointwise=True, linear=True, fit=True)
            for decomposition in ("svd", "data"):
                rows.append(
                    row(
                        name, source, plan, rank, decomposition, before, known, new, dense.chosen_cycles, read
                    )
                )
                print(rows[-1], flush=True)
    with out.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def row(
    name: str, source: OnnxNetwork, plan: Plan, rank: str, decomposition: str, before: Runner, known: list[dict[str, np.ndarray]],
    new: list[dict[str, np.ndarray]], dense_cycles: int, read: float,
) -> dict[str, object]:  # fmt: skip
    """Decompose and measure."""
    low = [layer for layer in source.layers if plan.layer(layer.shape.weight).kind == LOW_RANK]
    begin = time.perf_counter()
    moments = layer_moments(source, low, known) if decomposition == "data" else None
    model, layers = decompose_onnx(source, plan, moments)
    seconds = time.perf_counter() - begin
    after = Runner(model, 1)
    (error,) = output_errors(before, after, new).values()
    same = np.mean([np.mean(classes(name, before(feed)[0]) == classes(name, after(feed)[0])) for feed in new])
    stored = source.file.parameters + sum(
        layer.parameters_after - layer.parameters_before for layer in layers
    )
    return {
        "network": name,
        "layers": len(source.layers),
        "left_alone": len(source.untouched),
        "low_rank": len(low),
        "rank": rank,
        "decomposition": decomposition,
        "dense_cycles": dense_cycles,
        "cycles": network_cycles(source.network, plan, linear=True).chosen_cycles,
        "stored_before": source.file.parameters,
        "stored_after": stored,
        "output_error": f"{error:.4f}",
        "same_class": f"{same:.4f}",
        "seconds_to_read": f"{read:.2f}",
        "seconds_to_decompose": f"{seconds:.1f}",
    }


def classes(name: str, output: np.ndarray) -> np.ndarray:
    """What the network says at each position of its output."""
    return output > THRESHOLD if name == "detector" else output.argmax(-1)


def texts(name: str, image: tuple[int, int, int], first: int, count: int) -> list[dict[str, np.ndarray]]:
    """Lines of text, as the package normalises images: to -1..1, for the detector by the mean and deviation of ImageNet."""
    _, height, width = image
    feeds = []
    for number in range(first, first + count):
        draw = np.random.default_rng(number)
        page = Image.new("RGB", (width, height), tuple(int(v) for v in draw.integers(180, 256, 3)))
        font = ImageFont.load_default(min(height - 16, 28))
        for top in range(8, height - 24, 44) if height > 48 else (8,):
            words = (
                "".join(draw.choice(list(LETTERS), 14))
                if height > 48
                else "".join(draw.choice(list(LETTERS), width // 22))
            )
            ImageDraw.Draw(page).text(
                (6, top), words, fill=tuple(int(v) for v in draw.integers(0, 90, 3)), font=font
            )
        x = np.asarray(page, np.float32).transpose(2, 0, 1) / 255
        if name == "detector":
            mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
        else:
            mean = deviation = np.full(3, 0.5, np.float32)
        feeds.append({"x": ((x - mean[:, None, None]) / deviation[:, None, None])[None]})
    return feeds


if __name__ == "__main__":
    main()
