"""Images whose content is known: letters on photographs, pages of lines, single lines of text.

For the scripts beside this one. Everything is drawn from the generator that is handed in. Fonts are those
that matplotlib ships, photographs those of scikit-learn.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images

Draw = np.random.Generator
Drawn = tuple[Image.Image, np.ndarray]  # an image, and the boxes (N, 4) in it: left, top, right, bottom

FACES = ("Sans", "Sans-Bold", "Serif", "Serif-Bold", "SansMono", "SansMono-Bold")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
WIDE = "ABCDEFGHKLMNPQRSTUVXYZabdeghkmnpqsuvxyz2345679"  # letters that fill a box, so that it is theirs alone
MARGIN = 3  # pixels around a letter that its box has
NOISE = 6.0  # deviation, of 255


def letters_on_photograph(draw: Draw, height: int, width: int) -> Drawn:
    """Four to eight turned letters on a part of a photograph, none over another."""
    page = _photograph(draw, height, width)
    boxes: list[tuple[int, int, int, int]] = []
    for _ in range(int(draw.integers(4, 9))):
        glyph = _glyph(draw, int(draw.integers(height // 9, height // 7)))
        place = _free_place(draw, boxes, glyph.size, page.size)
        if place is None:
            continue
        # Away from the photograph's own colours, as puzzles of this sort have it.
        ink = tuple(int(value) for value in draw.choice([0, 255], 3))
        page.paste(Image.new("RGB", glyph.size, ink), place, glyph)
        left, top = place
        boxes.append((left - MARGIN, top - MARGIN, left + glyph.width + MARGIN, top + glyph.height + MARGIN))
    return _noisy(draw, page), np.array(boxes, np.float64)


def page_of_lines(draw: Draw, height: int, width: int) -> Drawn:
    """A bright page with lines of one to three words of several sizes.

    The box of a line is as high as its font, whatever its letters are.
    """
    page = Image.new("RGB", (width, height), _colour(draw, 180, 256))
    pen = ImageDraw.Draw(page)
    boxes = []
    top = int(draw.integers(6, 20))
    while True:
        font = _font(draw, int(draw.integers(14, 30)))
        words = _words(draw, int(draw.integers(1, 4)))
        left = int(draw.integers(6, width // 3))
        right, bottom = left + font.getlength(words), top + sum(font.getmetrics())
        if bottom > height - 4:
            break
        if right < width - 4:
            pen.text((left, top), words, fill=_colour(draw, 0, 100), font=font)
            boxes.append((left, top, right, bottom))
        top = int(bottom + draw.integers(8, 24))
    return _noisy(draw, page), np.array(boxes, np.float64).reshape(-1, 4)


def line_of_text(draw: Draw, height: int, width: int) -> tuple[Image.Image, str]:
    """A line that fills an image of at most this width, with the text on it."""
    font = _font(draw, int(draw.integers(height // 2, height * 3 // 4)))
    words = _words(draw, 1)
    while font.getlength(words) > width - 16 or font.getlength(f"{words} {words}") < width * 0.9:
        words = _words(draw, int(draw.integers(1, 4)))
    _, top, right, bottom = font.getbbox(words)
    size = (min(width, int(right) + int(draw.integers(6, 17))), height)
    page = Image.new("RGB", size, _colour(draw, 160, 256))
    above = (height - (bottom - top)) / 2 - top + draw.integers(-2, 3)
    ImageDraw.Draw(page).text((4, above), words, fill=_colour(draw, 0, 100), font=font)
    if draw.random() < 0.3:
        page = page.filter(ImageFilter.GaussianBlur(0.7))
    return _noisy(draw, page), words


def _words(draw: Draw, count: int) -> str:
    """Words of two to eight random letters, so that none is guessed from its neighbours."""
    return " ".join("".join(draw.choice(list(LETTERS), draw.integers(2, 9))) for _ in range(count))


def _font(draw: Draw, size: int) -> ImageFont.FreeTypeFont:
    face = FACES[int(draw.integers(len(FACES)))]
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVu{face}.ttf"
    return ImageFont.truetype(str(path), size)


def _colour(draw: Draw, least: int, above: int) -> tuple[int, ...]:
    return tuple(int(value) for value in draw.integers(least, above, 3))


def _glyph(draw: Draw, size: int) -> Image.Image:
    """A letter, turned, as a mask that it fills from side to side."""
    font = _font(draw, size)
    sheet = Image.new("L", (3 * size, 3 * size))
    letter = str(draw.choice(list(WIDE)))
    ImageDraw.Draw(sheet).text((size, size), letter, fill=255, font=font)
    turned = sheet.rotate(float(draw.uniform(-40, 40)), Image.Resampling.BICUBIC)
    return turned.crop(turned.point(lambda value: 255 * (value > 127)).getbbox())


def _free_place(
    draw: Draw, boxes: list[tuple[int, int, int, int]], size: tuple[int, int], page: tuple[int, int]
) -> tuple[int, int] | None:
    """A left upper corner where a box touches no other, if one is met in a few tries."""
    for _ in range(20):
        left = int(draw.integers(2, page[0] - size[0] - 2))
        top = int(draw.integers(2, page[1] - size[1] - 2))
        right, bottom = left + size[0], top + size[1]
        apart = [
            right + 4 < box[0] or left > box[2] + 4 or bottom + 4 < box[1] or top > box[3] + 4
            for box in boxes
        ]
        if all(apart):
            return left, top
    return None


@cache
def _photographs() -> tuple[Image.Image, ...]:
    return tuple(Image.fromarray(image) for image in load_sample_images().images)


def _photograph(draw: Draw, height: int, width: int) -> Image.Image:
    """A part of a photograph, perhaps mirrored."""
    photographs = _photographs()
    whole = photographs[int(draw.integers(len(photographs)))]
    side = int(draw.integers(200, min(whole.size)))
    left = int(draw.integers(whole.width - side + 1))
    top = int(draw.integers(whole.height - side + 1))
    part = whole.crop((left, top, left + side, top + side)).resize((width, height))
    if draw.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return part


def _noisy(draw: Draw, page: Image.Image) -> Image.Image:
    values = np.asarray(page, np.float64)
    values = values + draw.normal(0, NOISE, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
