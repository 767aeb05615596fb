"""The numeric columns of the released SecurityNet table, and how many images stand behind them."""

from __future__ import annotations

from typing import NamedTuple

from securitynet.metrics.vocabulary import ACCURACY, AGREEMENT, AUC, OVERFIT_GAP, TEST_ACCURACY, TRAIN_ACCURACY

TRAIN, TEST, GAP = "Train Accuracy", "Test Accuracy", "Overfit Gap"
STOLEN, AGREED = "Model Stealing Accuracy", "Model Stealing Agreement"
CORRECT, ENTROPY = "Correct Auc", "M_entropy AUC"
WIDE, WIDE_AGREED, OOD, OOD_AGREED = "Wrn Accuracy", "Wrn Agree", "ImgNet Accuracy", "ImgNet Agree"


class Cell(NamedTuple):
    """What a numeric column measures; `zero` tells that a printed 0 stands for "not measured" there."""

    column: str
    family: str
    attack: str
    metric: str
    preset: str | None = None
    zero: bool = False


CELLS = (
    Cell(TRAIN, "verify", "verify", TRAIN_ACCURACY, zero=True),
    Cell(TEST, "verify", "verify", TEST_ACCURACY),
    Cell(GAP, "verify", "verify", OVERFIT_GAP),
    Cell(STOLEN, "stealing", "stealing/knockoff", ACCURACY, "base"),
    Cell(AGREED, "stealing", "stealing/knockoff", AGREEMENT, "base"),
    Cell(CORRECT, "membership", "membership/correctness", AUC, zero=True),
    Cell(ENTROPY, "membership", "membership/modified_entropy", AUC, zero=True),
    Cell(WIDE, "stealing", "stealing/knockoff", ACCURACY, "wide_surrogate", zero=True),
    Cell(WIDE_AGREED, "stealing", "stealing/knockoff", AGREEMENT, "wide_surrogate", zero=True),
    Cell(OOD, "stealing", "stealing/knockoff", ACCURACY, "ood_queries", zero=True),
    Cell(OOD_AGREED, "stealing", "stealing/knockoff", AGREEMENT, "ood_queries", zero=True),
)
# images behind the numbers: the denominators that fit every printed value; a set that is absent could not be identified
TRAIN_IMAGES = {"CIFAR-10": 25_000, "CIFAR-100": 40_000, "ImageNet-1k": 5_000, "CUB-200-2011": 1_499}
TEST_IMAGES = {
    "CIFAR-10": 10_000, "CIFAR-100": 10_000, "SVHN": 26_032, "ImageNet-1k": 50_000, "CUB-200-2011": 5_794,
    "adrenalmnist3d": 298, "bloodmnist": 3_421, "breastmnist": 156, "dermamnist": 2_005, "fracturemnist3d": 240, "nodulemnist3d": 310,
    "octmnist": 1_000, "organamnist": 17_778, "organcmnist": 8_268, "organmnist3d": 610, "organsmnist": 8_829, "pathmnist": 7_180,
    "pneumoniamnist": 624, "retinamnist": 400, "synapsemnist3d": 352, "tissuemnist": 47_280, "vesselmnist3d": 382,
}  # fmt: skip
MEMBERSHIP_IMAGES = {"CIFAR-10": 10_000, "CIFAR-100": 10_000, "ImageNet-1k": 10_000, "CUB-200-2011": 2_947}
SAMPLE = 5_000  # training and test images each, for every model of the security table
