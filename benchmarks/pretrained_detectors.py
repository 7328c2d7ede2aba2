"""Trained detection networks that Python packages ship, with images whose boxes are known.

    pip install --no-deps rapidocr-onnxruntime==1.4.4 ddddocr==1.6.1
    pip install opencv-python-headless pyclipper shapely

Images are prepared, and outputs read, by what the packages do; their own code is called where it can be.

- `letters`: YOLOX (anchor-free boxes from three grids), which ddddocr ships for puzzles of letters and signs,
  on letters over photographs, at 3x256x256 in the place of the 3x416x416 of the file.
- `lines`: DB (segmentation, boxes around what is connected), the text detector of PaddleOCR v4 that
  rapidocr-onnxruntime ships, on pages of lines, at 3x256x256.

`letters_f1` and `lines_f1` are metrics for the command line: `--metric pretrained_detectors:letters_f1`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rendered_images import Draw, Drawn, letters_on_photograph, page_of_lines
from scipy.optimize import linear_sum_assignment

IMAGE = (3, 256, 256)
MOST_BOXES = 16  # of an image; tables of boxes are filled up with NaN
LEAST_IOU = 0.5


@dataclass(frozen=True)
class Detector:
    """A network and what it is measured on.

    Attributes:
        name: for tables.
        package: that ships it.
        file: within the package.
        draw: an image and its boxes.
        prepare: the input (C, H, W) of an image.
        boxes: (N, 4) of the outputs of one image, each with the image in front.
        image: (C, H, W) of its inputs.
        outputs: what the planner takes its outputs for.
        measure: what the score is of, in words.
    """

    name: str
    package: str
    file: str
    draw: Callable[[Draw, int, int], Drawn]
    prepare: Callable[[Image.Image], np.ndarray]
    boxes: Callable[[Sequence[np.ndarray]], np.ndarray]
    image: tuple[int, int, int] = IMAGE
    outputs: str = "values"
    measure: str = "F1 of boxes"

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return package_folder(self.package) / self.file

    def drawn(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (N, C, H, W) of the images drawn with these seeds, and their boxes (N, 16, 4)."""
        inputs, targets = [], []
        for seed in range(first, first + count):
            page, boxes = self.draw(np.random.default_rng(seed), *IMAGE[1:])
            table = np.full((MOST_BOXES, 4), np.nan, np.float32)
            table[: len(boxes)] = boxes
            inputs.append(self.prepare(page))
            targets.append(table)
        return np.stack(inputs), np.stack(targets)

    def score(self, outputs: Any, targets: Any) -> float:
        """F1 of boxes that overlap known ones by half or more, each with one at most.

        Args:
            outputs: a tensor or array of all images, or several.
            targets: (N, 16, 4) boxes.
        """
        parts = outputs if isinstance(outputs, (tuple, list)) else [outputs]
        arrays = [np.asarray(part) for part in parts]
        right = found = known = 0
        for place, table in enumerate(np.asarray(targets)):
            boxes = table[~np.isnan(table[:, 0])]
            own = self.boxes([part[place : place + 1] for part in arrays])
            right += _matched(own, boxes)
            found, known = found + len(own), known + len(boxes)
        return 2 * right / max(found + known, 1)


def package_folder(package: str) -> Path:
    """Where a package lies, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed; see the head of benchmarks/pretrained_detectors.py")
    return Path(spec.origin).parent


def _blue_first(page: Image.Image) -> np.ndarray:
    """(C, H, W) of 0 to 255, blue, green, red, as OpenCV reads images."""
    return np.ascontiguousarray(np.asarray(page, np.float32)[:, :, ::-1].transpose(2, 0, 1))


def centred(page: Image.Image) -> np.ndarray:
    """(C, H, W) of -1 to 1, blue first."""
    return (_blue_first(page) / 255 - 0.5) / 0.5


@cache
def _yolox() -> Any:
    """The package's own reading of outputs; its engine would load the network, too."""
    from ddddocr.core.detection_engine import DetectionEngine

    engine = object.__new__(DetectionEngine)
    engine.session = None
    return engine


def _boxes_of_grids(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Boxes of YOLOX, as `DetectionEngine.get_bbox` makes them."""
    (output,) = outputs
    places = _yolox().demo_postprocess(output.astype(np.float64), IMAGE[1:])[0]
    centres, sizes, scores = places[:, :2], places[:, 2:4], places[:, 4:5] * places[:, 5:]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
    found = _yolox().multiclass_nms(boxes, scores, nms_thr=0.45, score_thr=0.1)
    return np.zeros((0, 4)) if found is None else found[:, :4]


@cache
def _differentiable_binarisation() -> Any:
    from rapidocr_onnxruntime.ch_ppocr_det.utils import DBPostProcess

    # As config.yaml of the package has it.
    return DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, use_dilation=True)


def _boxes_of_regions(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Upright boxes around the quadrangles of DB."""
    corners, _ = _differentiable_binarisation()(outputs[0], IMAGE[1:])
    boxes = [(*four.min(0), *four.max(0)) for four in corners]
    return np.array(boxes, np.float64).reshape(-1, 4)


LETTERS = Detector(
    "letters", "ddddocr", "common_det.onnx", letters_on_photograph, _blue_first, _boxes_of_grids
)
LINES = Detector(
    "lines",
    "rapidocr_onnxruntime",
    "models/ch_PP-OCRv4_det_infer.onnx",
    page_of_lines,
    centred,
    _boxes_of_regions,
)
DETECTORS = {detector.name: detector for detector in (LETTERS, LINES)}


def _matched(found: np.ndarray, known: np.ndarray) -> int:
    """The most pairs of a found box and a known one that overlap enough."""
    corner = np.maximum(found[:, None, :2], known[:, :2])
    other = np.minimum(found[:, None, 2:], known[:, 2:])
    shared = (other - corner).clip(0).prod(-1)
    union = _areas(found)[:, None] + _areas(known) - shared
    enough = shared >= LEAST_IOU * union
    rows, columns = linear_sum_assignment(enough, maximize=True)
    return int(enough[rows, columns].sum())


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def letters_f1(outputs: Any, targets: Any) -> float:
    """F1 of the boxes of letters."""
    return LETTERS.score(outputs, targets)


def lines_f1(outputs: Any, targets: Any) -> float:
    """F1 of the boxes of lines."""
    return LINES.score(outputs, targets)
