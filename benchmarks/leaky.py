"""Splits that differ in something else than membership, on a model that saw none of the images: no leak may be claimed.

usage: leaky.py MODEL IMAGES.npz [--entry RECORD.json] [--cases NAME ...] [--size 2500]

IMAGES.npz holds x_test and y_test, which the model was not trained on; members and non-members are both drawn from them. Prints,
per case, the AUC of the loss, what the controls saw, and the sentence of the summary; the last line counts the claims.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

import securitynet

Pixels = np.ndarray
ATTACKS = ["membership/loss", "membership/entropy", "membership/margin", "membership/correctness"]


def each(images: Pixels, change: object) -> Pixels:
    """Return all images changed one by one."""
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])  # type: ignore[operator]


def jpeg(image: Image.Image, quality: int = 88) -> Image.Image:
    """Return an image once through JPEG."""
    image.save(stream := io.BytesIO(), "JPEG", quality=quality)
    return Image.open(stream)


def resampled(image: Image.Image) -> Image.Image:
    """Return an image made a fifth larger and small again."""
    larger = image.resize((round(image.width * 1.2), round(image.height * 1.2)), Image.Resampling.BILINEAR)
    return larger.resize(image.size, Image.Resampling.BILINEAR)


def cases(images: Pixels, labels: np.ndarray, hard: np.ndarray, rng: np.random.Generator) -> dict[str, tuple[Pixels, np.ndarray]]:
    """Return images and labels of the non-members by name; `hard` says which images another classifier gets wrong."""
    wrong = rng.random(len(labels)) < 0.04
    one_class = (labels == 3) & (rng.random(len(labels)) < 0.5)
    rare = (labels > 1) | (rng.random(len(labels)) < 0.3)
    harder = hard | (rng.random(len(labels)) < 0.6)
    noise = rng.normal(0, 3, images.shape)
    brighter = np.clip(images.astype(np.float64) * 1.05, 0, 255).astype(np.uint8)
    dither = np.clip(images + noise, 0, 255).astype(np.uint8)
    return {
        "none": (images, labels),
        "brighter": (brighter, labels),
        "contrast": (each(images, lambda one: ImageEnhance.Contrast(one).enhance(0.9)), labels),
        "noise": (dither, labels),
        "blur": (each(images, lambda one: one.filter(ImageFilter.GaussianBlur(0.5))), labels),
        "jpeg": (each(images, jpeg), labels),
        "resampled": (each(images, resampled), labels),
        "turned": (each(images, lambda one: one.rotate(3, Image.Resampling.BILINEAR)), labels),
        "two classes rare": (images[rare], labels[rare]),
        "wrong labels": (images, np.where(wrong, (labels + 1) % 10, labels)),
        "wrong labels of one class": (images, np.where(one_class, 5, labels)),
        "harder": (images[harder], labels[harder]),
    }


def wrongly_classified(images: Pixels, labels: np.ndarray) -> np.ndarray:
    """Return which images randomised trees on the pixels get wrong, out of fold."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import cross_val_predict

    flat = images.reshape(len(images), -1)[:, :: max(1, images[0].size // 400)]
    return np.asarray(cross_val_predict(ExtraTreesClassifier(60, random_state=0), flat, labels, cv=3) != labels)


def main() -> None:
    """Print one block per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("images", type=Path)
    parser.add_argument("--entry", type=Path)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--size", type=int, default=2500)
    args = parser.parse_args()
    target = securitynet.load_model(args.model, entry=json.loads(args.entry.read_text()) if args.entry else None)
    with np.load(args.images) as stored:
        images, labels = stored["x_test"], stored["y_test"].astype(np.int64).reshape(-1)
    rng = np.random.default_rng(11)
    order = rng.permutation(len(labels))
    inside, outside = order[: args.size], order[args.size : 2 * args.size]
    hard = wrongly_classified(images, labels)[outside]
    claims = 0
    for name, (changed, given) in cases(images[outside], labels[outside], hard, rng).items():
        if args.cases and name not in args.cases:
            continue
        data = {"x_train": images[inside], "y_train": labels[inside], "x_test": changed, "y_test": given}
        with tempfile.TemporaryDirectory() as cache:
            result = securitynet.evaluate(target, data, ATTACKS, cache_dir=cache)
        summary = result.summary()
        claims += "leaks membership" in summary["meaning"]
        loss = next(row for row in result.rows if (row.attack, row.metric) == ("membership/loss", "auc"))
        shifts = {
            row.attack: row.value for row in result.rows if row.metric == "shift_p_value" and row.value is not None and row.value < 0.01
        }
        sys.stdout.write(f"{name}: loss {loss.value:.3f} [{loss.ci_low:.3f}, {loss.ci_high:.3f}] {shifts}\n   {summary['meaning']}\n")
        sys.stdout.flush()
    sys.stdout.write(f"claims of a leak: {claims}\n")


if __name__ == "__main__":
    main()
