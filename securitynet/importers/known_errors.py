"""The known errors of the released SecurityNet table, as flags: facts stay as printed, and what is wrong with them is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from securitynet.importers.numeric_columns import AGREED, CORRECT, ENTROPY, GAP, STOLEN, TEST, TRAIN
from securitynet.importers.released import Model


class Flag(NamedTuple):
    """A known error: the columns whose numbers it touches (none: a wrong link) and the models that have it."""

    name: str
    words: str
    columns: tuple[str, ...]
    applies: Callable[[Model], bool]


FLAGS = (
    Flag("train_acc_constant", "every SVHN model has 0.999 here, so it was not measured", (TRAIN, GAP),
         lambda model: model.dataset == "SVHN" and model.cells[TRAIN] == "0.999"),
    Flag("constant_predictor", "the surrogate agrees on at least 99.5 %, as it does with a model that always predicts one class",
         (TEST, STOLEN, AGREED), lambda model: model.number(AGREED) >= 0.995),
    Flag("suspect_eval", "accuracies of this dataset are near or below chance: the models were fed wrongly", (TEST, STOLEN, AGREED),
         lambda model: model.dataset in ("organmnist3d", "synapsemnist3d")),
    Flag("failed_attack", "far below every other model: a failed run", (STOLEN, AGREED),
         lambda model: model.entry == "pytorchcv/resnesta152"),
    Flag("sampled_eval_5000", "measured on samples of 5,000 images", (TRAIN, TEST, GAP, CORRECT, ENTROPY),
         lambda model: model.table == "security"),
    Flag("acc_below_publisher", "every model of this dataset is below its publisher's claim: its input was prepared differently",
         (TRAIN, TEST), lambda model: model.dataset in ("ImageNet-1k", "CUB-200-2011")),
    Flag("weights_link_is_dataset", "the released link leads to the images, not to the weights", (),
         lambda model: model.entry.startswith("medmnist/")),
    Flag("weights_link_moved", "the released link leads to a folder that has no models any more", (),
         lambda model: model.entry.startswith("pytorchcv/")),
)  # fmt: skip


def flags_of(model: Model) -> list[Flag]:
    """Return the known errors of a model."""
    return [flag for flag in FLAGS if flag.applies(model)]
