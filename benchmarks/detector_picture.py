"""The boxes of detectors before and after compression, on drawn images.

Usage: python benchmarks/detector_picture.py [--keep detectors] [--shares 0.6 0.4] [--bits 8]
    [--image 1000000] [--picture docs/images/detectors.png]

One row for each network of `pretrained_detectors.py` that was measured: boxes of the original, then those of
the files that `detectors.py` left in `--keep`, in onnxruntime, all on one image. Known boxes are dashed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pretrained_detectors import DETECTORS, IMAGE, Detector

from rankfold.calibration.onnx import Runner
from rankfold.report.palette import BLUE, OCHRE
from rankfold.workload.onnx.layers import analyse_onnx

SIDE, DOTS = 2.6, 80  # inches a panel, dots an inch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, default=Path("detectors"))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.6, 0.4])
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--image", type=int, default=1_000_000, help="the seed that it is drawn with")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/detectors.png"))
    options = parser.parse_args()
    written: dict[str, list[Path]] = {}
    for name in DETECTORS:
        paths = [options.keep / f"{name}-{share:g}-{options.bits}.onnx" for share in options.shares]
        if all(path.exists() for path in paths):
            written[name] = paths
    if not written:
        raise SystemExit(f"{options.keep} has no files of these shares and bits; run detectors.py first")
    columns = 1 + len(options.shares)
    figure = Figure((columns * SIDE, len(written) * (SIDE + 0.2)), dpi=DOTS, layout="tight")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(written), columns, squeeze=False)
    for row, (name, paths) in zip(panels, written.items(), strict=True):
        detector = DETECTORS[name]
        draw_boxes(row[0], detector, detector.path, options.image, "original")
        for panel, share, path in zip(row[1:], options.shares, paths, strict=True):
            words = f"{share:.0%} of its cycles, {options.bits} bits"
            draw_boxes(panel, detector, path, options.image, words)
    figure.savefig(options.picture, pil_kwargs={"optimize": True})


def draw_boxes(panel: Axes, detector: Detector, path: Path, seed: int, title: str) -> None:
    """An image with its known boxes and those that a file finds."""
    page, known = detector.draw(np.random.default_rng(seed), *IMAGE[1:])
    runner = Runner(analyse_onnx(path, IMAGE).file.model, 1)
    found = detector.boxes(runner({runner.inputs[0]: detector.prepare(page)[None]}))
    panel.imshow(page)
    for boxes, colour, style in ((found, OCHRE[0], "-"), (known, BLUE[0], ":")):
        for left, top, right, bottom in boxes:
            corner, width, height = (left, top), right - left, bottom - top
            panel.add_patch(
                Rectangle(corner, width, height, fill=False, edgecolor=colour, linestyle=style, linewidth=1.4)
            )
    panel.set_title(f"{detector.name}: {title}", fontsize=8)
    panel.set_axis_off()


if __name__ == "__main__":
    main()
