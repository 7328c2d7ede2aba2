"""The text networks of rapidocr-onnxruntime 1.4.4, with lines of text whose characters are known.

    pip install --no-deps rapidocr-onnxruntime==1.4.4
    pip install opencv-python-headless pyclipper shapely rapidfuzz

- `recogniser`: a line, 3x48x320, to characters: 6,625 chances at each of 40 places (CTC).
- `classifier`: a line, 3x48x192, upright or turned by 180 degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image
from pretrained_detectors import centred, package_folder
from rapidfuzz.distance import LCSseq
from rendered_images import Draw, line_of_text

PACKAGE = "rapidocr_onnxruntime"


@dataclass(frozen=True)
class TextNetwork:
    """A network and what it is measured on.

    Attributes:
        name: for tables.
        file: within the package.
        image: (C, H, W) of its inputs.
        draw: an input and what is to be read of it.
        score: of the outputs (N, ...) of all images and what was to be read, the higher the better.
        outputs: what the planner takes its outputs for.
        measure: what the score is of, in words.
    """

    name: str
    file: str
    image: tuple[int, int, int]
    draw: Callable[[Draw], tuple[np.ndarray, Any]]
    score: Callable[[np.ndarray, Sequence[Any]], float]
    outputs: str
    measure: str

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return package_folder(PACKAGE) / "models" / self.file

    def drawn(self, first: int, count: int) -> tuple[np.ndarray, list[Any]]:
        """Inputs (N, C, H, W) of the lines drawn with these seeds, and what is to be read of them."""
        pairs = [self.draw(np.random.default_rng(seed)) for seed in range(first, first + count)]
        return np.stack([values for values, _ in pairs]), [wanted for _, wanted in pairs]


def _padded(page: Image.Image, width: int) -> np.ndarray:
    """(C, H, width) of a page, zeros behind it, as the package pads lines."""
    values = centred(page)
    whole = np.zeros((*values.shape[:2], width), np.float32)
    whole[:, :, : values.shape[2]] = values
    return whole


def _line(draw: Draw) -> tuple[np.ndarray, str]:
    page, text = line_of_text(draw, 48, 320)
    return _padded(page, 320), text


def _direction(draw: Draw) -> tuple[np.ndarray, int]:
    page, _ = line_of_text(draw, 48, 192)
    turned = int(draw.integers(2))
    if turned:
        page = page.transpose(Image.Transpose.ROTATE_180)
    return _padded(page, 192), turned


@cache
def _reader() -> Any:
    """The package's own reading of characters, whose list lies in the network's file."""
    from rapidocr_onnxruntime.ch_ppocr_rec.utils import CTCLabelDecode

    model = onnx.load(RECOGNISER.path, load_external_data=False)
    (characters,) = [entry.value for entry in model.metadata_props if entry.key == "character"]
    return CTCLabelDecode(character=characters.splitlines())


def _read_rightly(outputs: np.ndarray, wanted: Sequence[str]) -> float:
    """The share of characters, spaces aside, that the longest common subsequence with what is read has."""
    right = 0
    for (read, _), text in zip(_reader()(outputs), wanted, strict=True):
        right += LCSseq.similarity(read.replace(" ", ""), text.replace(" ", ""))
    return right / sum(len(text.replace(" ", "")) for text in wanted)


def _directions(outputs: np.ndarray, wanted: Sequence[int]) -> float:
    return float((outputs.argmax(1) == np.array(wanted)).mean())


RECOGNISER = TextNetwork(
    "recogniser",
    "ch_PP-OCRv4_rec_infer.onnx",
    (3, 48, 320),
    _line,
    _read_rightly,
    "probabilities:2",
    "characters read",
)
CLASSIFIER = TextNetwork(
    "classifier",
    "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    (3, 48, 192),
    _direction,
    _directions,
    "probabilities",
    "directions told",
)
