"""Blind controls: a difference of members and non-members that shows without the model is no memory of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.controls.views import VIEWS, sampled, viewed
from securitynet.metrics.exact import rank_difference, share_difference
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.membership import auc
from securitynet.metrics.vocabulary import SHIFT_P_VALUE
from securitynet.threads import one_thread

if TYPE_CHECKING:
    from securitynet.data import Split, Splits

Array = NDArray[np.float64]
SAMPLES = 2500  # of each group: with as many, an AUC of 0.52 is seen four times in five
FEWEST = 50
FOLDS = 3
TREES = 50
MOST_CLASSES = 100  # trees hold a number per class in each leaf
CLASSES, LABELS = "class shares", "labels"
NAMES = (*VIEWS, CLASSES, LABELS)
EXACT = "exact, by shuffling"


def blind(splits: Splits) -> Mapping[str, list[Estimate]]:
    """Return, by control, the p-value that members and non-members were drawn alike; for views of the images their AUC as well.

    `layout`, `tone`, `spectrum`, `compression`: randomised trees on that view, scored out of fold. `class shares`: how often each
    class occurs. `labels`: how well labels fit the images, by trees that predict them, scored out of fold (wrong labels of one
    group show, wrong labels of both do not). A number is None with the reason where there are fewer than 50 of a group.
    """
    members, non_members = splits.members, splits.non_members
    if members is None or non_members is None or min(len(members), len(non_members)) < FEWEST:
        reason = f"needs {FEWEST} members and {FEWEST} non-members"
        return {name: [Estimate(SHIFT_P_VALUE, None, 0, reason=reason)] for name in NAMES}
    parts = members, non_members
    views = [viewed(part, samples=SAMPLES, seed=splits.seed) for part in parts]
    found = {name: by_view(views[0][name], views[1][name], splits.seed) for name in VIEWS}
    n = len(members) + len(non_members)
    counts = [np.bincount(part.labels, minlength=splits.num_classes) for part in parts]
    found[CLASSES] = [Estimate(SHIFT_P_VALUE, share_difference(*counts, seed=splits.seed), n, ci_method=EXACT)]
    labels = [_labels(part, splits.seed) for part in parts]
    found[LABELS] = [by_labels([one["layout"] for one in views], labels, splits.num_classes, splits.seed)]
    return found


def by_view(members: Array, non_members: Array, seed: int) -> list[Estimate]:
    """Return the AUC, with DeLong's interval, of trees on features [n, p] and [m, p] out of fold, and its one-sided p-value."""
    from scipy.stats import norm
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    features, labels = np.concatenate([members, non_members]), np.repeat([1, 0], [len(members), len(non_members)])
    trees = ExtraTreesClassifier(TREES, min_samples_leaf=3, max_features="sqrt", class_weight="balanced", random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with one_thread():
        scores = cross_val_predict(trees, features, labels, cv=folds, method="predict_proba")[:, 1]
    area = auc(scores[labels == 1], scores[labels == 0])
    if area.value is None or area.ci_low is None or area.ci_high is None:
        return [area, Estimate(SHIFT_P_VALUE, None, area.n, reason=area.reason)]
    error = (area.ci_high - area.ci_low) / 2 / norm.ppf(0.975)
    p = float(norm.sf((area.value - 0.5) / error))
    return [area, Estimate(SHIFT_P_VALUE, p, area.n, ci_method="normal, DeLong's variance")]


def by_labels(images: list[Array], labels: list[NDArray[np.int64]], classes: int, seed: int) -> Estimate:
    """Return the p-value that labels fit the images of both groups alike: of the log-probabilities that trees give them."""
    together = np.concatenate(labels)
    if classes > MOST_CLASSES:
        return Estimate(SHIFT_P_VALUE, None, len(together), reason=f"is for {MOST_CLASSES} classes at most, not {classes}")
    scores = _given(np.concatenate(images), together, seed)
    groups = np.split(scores, [len(labels[0])])
    return Estimate(SHIFT_P_VALUE, rank_difference(groups[:1], groups[1:], seed), len(together), ci_method=EXACT)


def _given(features: Array, labels: NDArray[np.int64], seed: int) -> Array:
    """Return the probability [n] that trees, fitted on the other folds, give each label; 0 for a class that those folds lack."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import KFold

    scores = np.zeros(len(labels))
    with one_thread():
        for others, own in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
            trees = ExtraTreesClassifier(TREES, min_samples_leaf=3, random_state=0).fit(features[others], labels[others])
            column = np.searchsorted(trees.classes_, labels[own]).clip(max=len(trees.classes_) - 1)
            known = trees.classes_[column] == labels[own]
            scores[own] = np.where(known, trees.predict_proba(features[own])[np.arange(len(own)), column], 0.0)
    return scores


def _labels(part: Split, seed: int) -> NDArray[np.int64]:
    return part.labels[sampled(len(part), SAMPLES, seed)]
