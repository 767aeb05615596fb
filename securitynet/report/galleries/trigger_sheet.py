"""Recovered triggers as one picture, and as a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.report.galleries.contact_sheet import BODY, GAP, GREY, INK, LINE, MARGIN, PAPER, SIDE, SMALL, TITLE, WARNING, Pen, wrapped
from securitynet.report.galleries.images import enlarged, fitted
from securitynet.report.page.html import write_html

if TYPE_CHECKING:
    from PIL.Image import Image

    from securitynet.report.galleries.trigger_gallery import Example, Prediction, RecoveredTrigger, TriggerGallery

STEP, SHOWN = SIDE + GAP, 256
ROW = 2 * (SIDE + LINE + 10) + 3 * (LINE + 2) + GAP


def trigger_sheet(gallery: TriggerGallery) -> Image:
    """Return the picture, RGB: for each trigger its mask and its pixels, and images above and below without and with it."""
    from PIL import Image, ImageDraw

    columns = 1 + max(len(one.examples) for one in gallery.found)
    width = max(3 * STEP, columns * STEP) + 2 * MARGIN + GAP
    header = _header(gallery, width - 2 * MARGIN)
    top = MARGIN + sum(size + 7 for _, size, _ in header) + 10 + (STEP if gallery.true is not None else 0)
    canvas = Image.new("RGB", (width, top + len(gallery.found) * ROW + MARGIN), PAPER)
    pen, y = Pen(ImageDraw.Draw(canvas), width - 2 * MARGIN), MARGIN
    for text, size, colour in header:
        pen.line((MARGIN, y), text, size, colour)
        y += size + 7
    if gallery.true is not None:
        _paste(canvas, pen, gallery.true, (MARGIN, y))
        pen.line((MARGIN + STEP, y + 4), "the planted trigger", SMALL, INK)
    for number, one in enumerate(gallery.found):
        _row(canvas, pen, one, top + number * ROW)
    return canvas


def write_triggers(gallery: TriggerGallery, path: Path) -> Path:
    """Write the gallery to `path`: a page where it ends in .html, else a PNG; whole or not at all."""
    from securitynet.cache import replacing

    if path.suffix.lower() in (".html", ".htm"):
        return write_html(path, "stamped.html.j2", gallery=gallery, uri=_uri)
    with replacing(path) as part:
        trigger_sheet(gallery).save(part, format="PNG")
    return path


def _header(gallery: TriggerGallery, width: int) -> list[tuple[str, int, str]]:
    lines = [(f"{gallery.entry} on {gallery.dataset}", TITLE, INK)]
    if gallery.doubt:
        lines += [(text, BODY, WARNING) for text in wrapped(f"suspect: {gallery.doubt}", width)]
    lines += [(text, BODY, INK) for text in wrapped(f"{gallery.heading}; {gallery.verdict}", width)]
    return lines + [(text, SMALL, GREY) for text in wrapped(gallery.truth or "no backdoor is known", width, SMALL)]


def _row(canvas: Image, pen: Pen, one: RecoveredTrigger, y: int) -> None:
    texts = [(f"towards {one.name}: {one.size}", INK), (one.success, INK), (one.place or f"by {one.attack}", GREY)]
    for number, (text, colour) in enumerate(texts):
        pen.line((MARGIN, y + number * (LINE + 2)), text, BODY if number == 0 else SMALL, colour)
    y += 3 * (LINE + 2) + 4
    lower = y + SIDE + LINE + 10
    for image, text, at in ((one.mask, "mask", y), (one.trigger, "mask x pattern", lower)):
        _paste(canvas, pen, image, (MARGIN, at))
        pen.line((MARGIN, at + SIDE + 3), text, SMALL, GREY, SIDE)
    for number, example in enumerate(one.examples, 1):
        _pair(canvas, pen, example, one.target_class, (MARGIN + GAP + number * STEP, y, lower))


def _pair(canvas: Image, pen: Pen, example: Example, target: int, at: tuple[int, int, int]) -> None:
    left, upper, lower = at
    for image, answer, y in ((example.clean, example.before, upper), (example.stamped, example.after, lower)):
        _paste(canvas, pen, image, (left, y))
        pen.line((left, y + SIDE + 3), _said(answer), SMALL, WARNING if answer.prediction == target else INK, SIDE)


def _said(answer: Prediction) -> str:
    return f"{answer.name}, {answer.probability:.1%}"


def _paste(canvas: Image, pen: Pen, image: Image, at: tuple[int, int]) -> None:
    left, top = at
    shown = enlarged(image, SIDE)
    pen.draw.rectangle((left - 1, top - 1, left + SIDE, top + SIDE), fill="#F1F3F4", outline="#DADCE0")
    canvas.paste(shown.convert("RGB"), (left + (SIDE - shown.width) // 2, top + (SIDE - shown.height) // 2))


def _uri(image: Image) -> str:
    buffer = io.BytesIO()
    fitted(image, SHOWN).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
