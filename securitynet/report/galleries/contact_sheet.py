"""The contact sheet: a gallery as one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.report.galleries.exposed import Exposed, Gallery
from securitynet.report.galleries.images import enlarged

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

SIDE, GAP, MARGIN = 132, 14, 24  # of a picture, between cells, around the sheet; pixels
LINE, SMALL, BODY, TITLE = 16, 12, 13, 20
NARROWEST = 640
PAPER, INK, GREY, WARNING = "#FFFFFF", "#1A1A1A", "#5F6368", "#B00020"


@dataclass(frozen=True)
class Pen:
    """Where words go, in fonts of three sizes."""

    draw: ImageDraw
    width: int

    def line(self, at: tuple[int, int], text: str, size: int = SMALL, colour: str = INK, width: int | None = None) -> None:
        """Write one line, cut short with an ellipsis where it does not fit."""
        font, room = _font(size), width or self.width
        if font.getlength(text) > room:
            while text and font.getlength(f"{text}…") > room:
                text = text[:-1]
            text = f"{text}…"
        self.draw.text(at, text, fill=colour, font=font)


def sheet(gallery: Gallery) -> Image:
    """Return the contact sheet of a gallery, RGB: each image with label, prediction and the false-positive rate at which it is found."""
    from PIL import Image, ImageDraw

    columns = max(1, math.ceil(math.sqrt(len(gallery.images))))
    width = max(NARROWEST, 2 * MARGIN + columns * (SIDE + GAP) - GAP)
    columns = (width - 2 * MARGIN + GAP) // (SIDE + GAP)
    header = _header(gallery, width - 2 * MARGIN)
    top = MARGIN + sum(size + 7 for _, size, _ in header) + 14
    cell = SIDE + 3 * LINE + GAP + 6
    canvas = Image.new("RGB", (width, top + math.ceil(len(gallery.images) / columns) * cell + MARGIN - GAP), PAPER)
    pen = Pen(ImageDraw.Draw(canvas), width - 2 * MARGIN)
    y = MARGIN
    for text, size, colour in header:
        pen.line((MARGIN, y), text, size, colour)
        y += size + 7
    for place, (one, image) in enumerate(zip(gallery.images, gallery.pictures, strict=True)):
        row, column = divmod(place, columns)
        _cell(canvas, pen, gallery, one, enlarged(image, SIDE), (MARGIN + column * (SIDE + GAP), top + row * cell))
    return canvas


def _cell(canvas: Image, pen: Pen, gallery: Gallery, one: Exposed, image: Image, at: tuple[int, int]) -> None:
    left, top = at
    pen.draw.rectangle((left - 1, top - 1, left + SIDE, top + SIDE), fill="#F1F3F4", outline="#DADCE0")
    canvas.paste(image.convert("RGB"), (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2))
    right = one.label == one.prediction
    answer = f"right, {one.probability:.1%}" if right else f"wrong: {one.prediction_name}, {one.probability:.1%}"
    lines = [(one.label_name, INK), (answer, GREY if right else WARNING), (gallery.rate(one), INK)]
    for number, (text, colour) in enumerate(lines):
        pen.line((left, top + SIDE + 5 + number * LINE), text, SMALL, colour, SIDE)


def _header(gallery: Gallery, width: int) -> list[tuple[str, int, str]]:
    lines = [(f"{gallery.entry} on {gallery.dataset}", TITLE, INK)]
    if gallery.doubt:
        lines += [(text, BODY, WARNING) for text in wrapped(f"suspect: {gallery.doubt}", width)]
    lines.append((gallery.heading, BODY, INK))
    return lines + [(text, SMALL, GREY) for text in wrapped(f"{gallery.luck} {gallery.explanation}", width, SMALL)]


def wrapped(text: str, width: int, size: int = BODY) -> list[str]:
    """Return the text in lines that fit into `width` pixels."""
    font, lines = _font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _font(size: int) -> ImageFont | FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
