"""Tables of one attack: samples, classes, the ROC curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from securitynet.metrics import membership as metrics
from securitynet.metrics.vocabulary import AUC
from securitynet.results.evidence import Scored
from securitynet.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

    from securitynet.data import Split


def scores(result: Result, attack: str) -> pd.DataFrame:
    """Return one line per sample that `attack` is measured on, members first.

    Columns: member (bool), index (position in the training or test part of the image dataset), label, prediction, score,
    fpr (share of non-members that score at least as high). Raises UsageError, or Skipped with the reason, where there are none.
    """
    import pandas as pd

    found, splits = result.scored_by(attack), result.splits
    members = _samples(found, result, "members", splits.members)
    return pd.concat([members, _samples(found, result, "non_members", splits.non_members)], ignore_index=True)


def _samples(found: Scored, result: Result, side: str, split: Split | None) -> pd.DataFrame:
    import pandas as pd

    assert split is not None
    member = side == "members"
    positions, values = (found.positions, found.members) if member else (found.non_positions, found.non_members)
    columns = {
        "member": member,
        "index": split.indices[positions],
        "label": found.labels if member else found.non_labels,
        "prediction": result.outputs[side].predictions[positions],
        "score": values,
        "fpr": metrics.alarm_rate(values, found.non_members),
    }
    return pd.DataFrame(columns)


def per_class(result: Result, attack: str) -> pd.DataFrame:
    """Return one line per class: class, name, members, non_members (counts), auc, ci_low, ci_high (DeLong, 95 %; NaN where too few).

    The intervals are of single classes: the worst of many classes is partly the unluckiest. Raises as scores() does.
    """
    import pandas as pd

    found, splits = result.scored_by(attack), result.splits
    classes = metrics.per_class_auc(found.members, found.non_members, found.labels, found.non_labels, splits.num_classes)
    names = splits.class_names or tuple(map(str, range(splits.num_classes)))
    return pd.DataFrame({"class": np.arange(splits.num_classes), "name": list(names)[: splits.num_classes], **vars(classes)})[
        ["class", "name", "members", "non_members", AUC, "ci_low", "ci_high"]
    ]


def roc(result: Result, attack: str) -> pd.DataFrame:
    """Return fpr, tpr and threshold (`score >= threshold` says member; it falls from inf) of every point. Raises as scores() does."""
    import pandas as pd

    found = result.scored_by(attack)
    return pd.DataFrame(dict(zip(("fpr", "tpr", "threshold"), metrics.roc(found.members, found.non_members), strict=True)))
