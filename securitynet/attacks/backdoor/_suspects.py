"""Suspicious images that are given: read them, and hold a detector's scores for them against those of clean images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import Tensor

from securitynet.attacks.backdoor._clean import answers, clean_images
from securitynet.attacks.backdoor._features import SampleEvidence
from securitynet.data.encoded import decode
from securitynet.data.folder import ENDINGS
from securitynet.data.transform import Transform
from securitynet.errors import DataError, Skipped
from securitynet.foreign import regular
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

Scores = NDArray[np.float64]
CLEAN = 64  # clean images unless more are asked for: one half to compare with, the other to work with
MOSTLY = 0.95  # share of clean images that score lower than a flagged one
MEANING = "p-value of the suspicious images against clean ones: that the model treats them as it treats images with a trigger"


def read_suspects(path: Path, target: Target) -> Tensor:
    """Return the images of a file or folder as the model takes them, float [n, c, h, w] in [0,1].

    A .npy file holds uint8 [n, h, w] or [n, h, w, c]; a folder, image files in the order of their names. Raises DataError.
    """
    transform = Transform.of(target.entry)
    files = sorted(one for one in path.iterdir() if one.suffix.lower() in ENDINGS) if path.is_dir() else [path]
    try:
        is_array = path.suffix == ".npy"
        images = list(np.load(regular(path, DataError), allow_pickle=False)) if is_array else [decode(str(file), file) for file in files]
        pixels = [transform(image) for image in images]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as images ({' '.join(str(error).split())})") from error
    if not pixels:
        raise DataError(f"{path}: holds no image files")
    return torch.from_numpy(np.stack(pixels)).float() / 255


def judge(
    score: Callable[[Tensor, Tensor], Scores], path: str, target: Target, splits: Splits, accelerator: Accelerator, count: int = CLEAN
) -> SampleEvidence:
    """Return the evidence of score(images, reference) on the images at `path`, larger is more suspicious.

    Its `score` is the chance that a suspicious image scores above a clean one, its p-value that of the one-sided
    Mann-Whitney test, a class's statistic the share of the suspicious images that are predicted as it and score above 95 %
    of the clean ones, `count` of which are available. Raises Skipped where no clean images are available.
    """
    clean = clean_images(target, splits, count, accelerator)
    if clean.made_up or len(clean.pixels) < 4:
        raise Skipped("needs clean images to compare suspicious ones with")
    images = read_suspects(Path(path), target).to(accelerator.device)
    half = len(clean.pixels) // 2
    reference, others = clean.pixels[:half], clean.pixels[half:]
    scores = score(torch.cat([images, others]), reference)
    suspicious, usual = scores[: len(images)], scores[len(images) :]
    said = answers(target, images, accelerator).argmax(1).cpu().numpy()
    flagged = suspicious > np.quantile(usual, MOSTLY)
    shares = np.bincount(said[flagged], minlength=target.num_classes) / len(said)
    test = mannwhitneyu(suspicious, usual, alternative="greater")
    return SampleEvidence(
        statistics=shares,
        score=float(test.statistic) / (len(suspicious) * len(usual)),
        target_class=int(shares.argmax()) if flagged.any() else None,
        p_value=float(test.pvalue),
        forward=(len(images) + len(others)) * len(reference),
        remark=MEANING,
        samples=suspicious,
    )
