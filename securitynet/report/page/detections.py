"""What a backdoor detector found, for a page: the classes' statistics as a strip of dots, recovered triggers as pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from securitynet.errors import UsageError
from securitynet.metrics.vocabulary import FLAGGED, P_VALUE, TARGET_CLASS
from securitynet.report.page.drawings import DotStrip, strip_drawing
from securitynet.report.saved_result import SavedResult
from securitynet.results.row import Row

SIDE = 128  # of a picture, in pixels
SHOWN = 6  # triggers
FAMILY = "backdoor"


@dataclass(frozen=True)
class Picture:
    """A recovered trigger: itself on grey and its mask, as addresses that hold the picture, and what they show."""

    title: str
    trigger: str
    mask: str


@dataclass(frozen=True)
class Detection:
    """One detector: its outcome as text, its statistics by class, the triggers that it recovered, most suspicious first."""

    title: str
    words: str
    strip: DotStrip | None
    pictures: tuple[Picture, ...]


def detections(saved: SavedResult) -> list[Detection]:
    """Return what each backdoor detector of a saved result found. Raises UsageError where its arrays do not fit together."""
    evidence = saved.arrays("statistics")
    found = []
    for label, rows in saved.labelled().items():
        key = (rows[0].attack, rows[0].params)
        if (rows[0].family or rows[0].attack.partition("/")[0]) == FAMILY and key in evidence:
            found.append(_detection(label, {row.metric: row for row in rows}, evidence[key], saved))
    return found


def _detection(label: str, rows: Mapping[str, Row], arrays: Mapping[str, np.ndarray], saved: SavedResult) -> Detection:
    target = rows.get(TARGET_CLASS)
    candidate = None if target is None or target.value is None else int(target.value)
    return Detection(
        f"Backdoor detection: {label}",
        _words(rows, candidate, saved),
        _strip(np.ravel(arrays["statistics"]).astype(float), candidate),
        tuple(_pictures(arrays, candidate, saved)),
    )


def _words(rows: Mapping[str, Row], candidate: int | None, saved: SavedResult) -> str:
    """Say whether the model looks backdoored, to which class, and what was planted where that is known."""
    flagged, p = rows.get(FLAGGED), rows.get(P_VALUE)
    said = ["no verdict, as no threshold is known for its score"]
    if flagged is not None and flagged.value is not None:
        said = ["looks backdoored" if flagged.value else "does not look backdoored"]
    if flagged is not None and flagged.value == 0 and p is not None and (p.calibrated is False or p.complete is False):
        why = "not everything was looked at as planned" if p.complete is False else "clean models of its kind were not measured"
        said = [f"cannot tell: it is not flagged, but {why}"]
    if p is not None and p.value is not None:
        said[0] += f" (p {p.value:.3g})"
    if candidate is not None:
        said.append(f"the likeliest target is class {candidate}")
    if saved.entry.backdoor:
        planted, aim = saved.entry.backdoor, saved.entry.backdoor_target
        said.append("known to be clean" if planted == "none" else f"planted: {planted}" + ("" if aim is None else f", to class {aim}"))
    return "; ".join(said)


def _strip(statistics: np.ndarray, candidate: int | None) -> DotStrip | None:
    """The candidate among the other classes; classes that were given up are left out."""
    known = {number: float(value) for number, value in enumerate(statistics) if np.isfinite(value)}
    if candidate not in known or len(known) < 2:
        return None
    others = {f"class {number}": value for number, value in known.items() if number != candidate}
    return strip_drawing("statistic of each class", (f"class {candidate}", known[candidate], None, None), others, "other classes")


def _pictures(arrays: Mapping[str, np.ndarray], candidate: int | None, saved: SavedResult) -> list[Picture]:
    """The candidate's trigger first, then those with the smallest masks."""
    if "masks" not in arrays:
        return []
    classes, masks, patterns = (np.asarray(arrays.get(name, np.empty(0))) for name in ("classes", "masks", "patterns"))
    fits = masks.ndim == patterns.ndim == 4 and len(classes) == len(masks) == len(patterns) and patterns.shape[1] in (1, 3)
    if not fits or masks.shape[1] != 1 or masks.shape[2:] != patterns.shape[2:] or not np.isfinite(masks).all():
        raise UsageError(f"{saved.folder}: its recovered triggers do not fit together: {masks.shape} and {patterns.shape}")
    sizes = masks.sum(axis=(1, 2, 3))
    order: Sequence[int] = sorted(range(len(masks)), key=lambda place: (int(classes[place]) != candidate, sizes[place]))[:SHOWN]
    return [_picture(int(classes[place]), masks[place], patterns[place]) for place in order]


def _picture(number: int, mask: np.ndarray, pattern: np.ndarray) -> Picture:
    stamped = pattern * mask + 0.5 * (1 - mask)
    return Picture(f"class {number}: mask of {mask.sum():.1f} pixels", address(stamped), address(mask))


def address(pixels: np.ndarray) -> str:
    """Return an image [c, h, w] in [0,1] as a PNG inside an address."""
    from PIL import Image

    from securitynet.report.galleries.images import enlarged

    bytes_ = np.rint(255 * np.nan_to_num(pixels).clip(0, 1)).astype(np.uint8)
    image = Image.fromarray(bytes_[0] if len(bytes_) == 1 else np.ascontiguousarray(bytes_.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    enlarged(image, SIDE).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
