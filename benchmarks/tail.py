"""Does the tail of the loss foretell what LiRA finds? OMP_NUM_THREADS=1 python benchmarks/tail.py [--models 16] [--epochs 5 15 40]

Small networks on halves of scikit-learn's digits, trained for short and for long, with and without moved images, on true labels
and on labels of which some are wrong: from models that leak nothing to models that leak much. Of each kind so many models are
trained; each in turn is the model under test, and the others are its reference models. Prints, per kind, the share of
non-members that a loss threshold rejects while it keeps 90 and 99 % of the members (membership/tail, no reference model needed)
beside the true-positive rate of LiRA at 1 % false positives; then how well each number that needs no reference model ranks the
kinds, and single models, as LiRA does.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from scipy.stats import spearmanr

from securitynet.attacks.membership import MembershipEvidence, Scores, half
from securitynet.attacks.membership._calibrated import lira_online
from securitynet.attacks.membership._formulas import log_likelihood, log_odds
from securitynet.attacks.membership.tail import TailEvidence
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.digits import digits
from securitynet.data.transform import Transform
from securitynet.metrics.membership import auc, tpr_at_fpr
from securitynet.references import References, ReferenceSettings, reference_answers
from securitynet.training import Recipe

NETWORK = '{"channels":[4,8,12,16],"stem_width":4,"in_chans":1}'
NOISE = (0.0, 0.2)  # share of labels that are drawn anew
PREDICTORS = ("tnr_at_fnr_0.1", "tnr_at_fnr_0.01", "loss auc", "loss tpr_at_fpr_0.01")


def noisy(share: float) -> Splits:
    """All digits, half of them members (which half decides nothing here), that share of the labels drawn anew."""
    pixels, labels = digits()
    rng = np.random.default_rng(0)
    drawn = np.where(rng.random(len(labels)) < share, rng.integers(0, 10, len(labels)), labels)
    images = ArrayImages(pixels, drawn)
    case = ImageSet("digits", images, images, membership="index-file", members=np.arange(len(labels) // 2))
    return draw(case, Transform((1, 8, 8)), 10, samples=None)


def found(models: References, index: int) -> list[float]:
    """LiRA's rate for model `index` against all others, then the predictors."""
    member, others = models.held[:, index], np.arange(models.held.shape[1]) != index
    phi, log_p = models.statistic(log_odds), models.statistic(log_likelihood)[:, index]
    lira = lira_online(phi[:, index], phi[:, others], models.held[:, others])
    tail = TailEvidence(evidence(log_p, member)).metrics()
    numbers = [tpr_at_fpr(lira[member], lira[~member], 0.01), *tail[:2], auc(log_p[member], log_p[~member])]
    return [one.value or 0.0 for one in (*numbers, tpr_at_fpr(log_p[member], log_p[~member], 0.01))]


def evidence(scores: Scores, member: np.ndarray) -> MembershipEvidence:
    parts = scores[member], scores[~member]
    return MembershipEvidence(*parts, half(len(parts[0]), 0), half(len(parts[1]), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=16, help="of each kind; an even number")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 15, 40])
    parser.add_argument("--cache", type=Path, help="keeps what was trained")
    args = parser.parse_args()
    accelerator, cache, kinds = Accelerator(), ArrayCache(args.cache), []
    write(f"{'labels drawn anew, epochs, moved':34}{'LiRA TPR@1%':>12}" + "".join(f"{name:>22}" for name in PREDICTORS) + "\n")
    for share, epochs, shift in itertools.product(NOISE, args.epochs, (0, 1)):
        recipe = Recipe(epochs=epochs, optimiser="adamw", learning_rate=0.01, weight_decay=0.0, shift=shift)
        settings = ReferenceSettings(count=args.models, architecture="timm:resnet10t", architecture_args=NETWORK, recipe=recipe)
        models = reference_answers(noisy(share), settings, accelerator, cache)
        kinds.append(np.array([found(models, index) for index in range(args.models)]))
        means = kinds[-1].mean(axis=0)
        write(f"{share:17.0%} {epochs:7} {shift:8}{means[0]:12.3f}" + "".join(f"{value:22.3f}" for value in means[1:]) + "\n")
    table = np.stack(kinds)
    for what, rows in (("kinds", table.mean(axis=1)), ("models", table.reshape(-1, table.shape[2]))):
        ranks = [spearmanr(rows[:, 0], rows[:, column + 1]).statistic for column in range(len(PREDICTORS))]
        write(f"rank correlation with LiRA, {len(rows):4} {what:22}" + "".join(f"{value:22.3f}" for value in ranks) + "\n")


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
