"""Blind controls: a difference of members and non-members that shows without the model is no memory of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.controls.views import VIEWS, sampled, viewed
from securitynet.metrics.crossed import crossed, crossed_auc
from securitynet.metrics.exact import rank_difference, share_difference
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import AUC, SHIFT_P_VALUE
from securitynet.threads import one_thread

if TYPE_CHECKING:
    from securitynet.data import Split, Splits

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
SAMPLES = 2500  # of each group: with as many, an AUC of 0.52 is seen four times in five
FEWEST = 50
FOLDS = 3
TREES = 50
SURE = 0.05  # p-value at or below which class shares are taken to differ: images are then compared at equal ones
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
    counts = [np.bincount(part.labels, minlength=splits.num_classes) for part in parts]
    share = share_difference(counts[0], counts[1], splits.seed)
    labels = [_labels(part, splits.seed) for part in parts]
    views = [viewed(part, samples=SAMPLES, seed=splits.seed) for part in parts]
    same = matched(labels[0], labels[1], splits.seed) if share <= SURE else tuple(np.arange(len(one)) for one in labels)
    found = {name: by_view(views[0][name][same[0]], views[1][name][same[1]], splits.seed) for name in VIEWS}
    found[CLASSES] = [Estimate(SHIFT_P_VALUE, share, int(sum(map(len, parts))), ci_method=EXACT)]
    found[LABELS] = [by_labels([one["layout"] for one in views], labels, splits.num_classes, splits.seed)]
    return found


def matched(labels: Integers, others: Integers, seed: int) -> tuple[Integers, Integers]:
    """Return positions in both groups, drawn by `seed`, such that every class occurs as often in both."""
    rng = np.random.default_rng(seed)
    chosen: tuple[list[Integers], list[Integers]] = ([], [])
    for one in np.intersect1d(labels, others):
        places = [np.flatnonzero(group == one) for group in (labels, others)]
        count = min(map(len, places))
        for side, place in zip(chosen, places, strict=True):
            side.append(rng.permutation(place)[:count])
    mine, theirs = (np.sort(np.concatenate(side)) if side else np.empty(0, np.int64) for side in chosen)
    return mine, theirs


def by_view(members: Array, non_members: Array, seed: int) -> list[Estimate]:
    """Return the AUC, with its interval, of trees on features [n, p] and [m, p], and its one-sided p-value.

    The trees are fitted on either half and score the other; crossed.crossed allows for that both fits err together, which
    DeLong's variance of scores out of fold does not (false alarms of 11 % at 5 %).
    """
    from scipy.stats import norm
    from sklearn.ensemble import ExtraTreesClassifier

    sides, rng = (members, non_members), np.random.default_rng(seed)
    if min(map(len, sides)) < FEWEST:
        reason = f"needs {FEWEST} images of each group, of the same classes"
        return [Estimate(metric, None, 0, reason=reason) for metric in (AUC, SHIFT_P_VALUE)]
    if not members.shape[1]:
        return [Estimate(metric, None, 0, reason="the images are too small for it") for metric in (AUC, SHIFT_P_VALUE)]
    known = tuple(rng.permutation(len(side)) < len(side) // 2 for side in sides)
    fits = []
    for masks in (known, tuple(~mask for mask in known)):
        training = [side[mask] for side, mask in zip(sides, masks, strict=True)]
        is_member = np.repeat([1, 0], list(map(len, training)))
        trees = ExtraTreesClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed)
        with one_thread():
            trees.fit(np.concatenate(training), is_member)
            fits.append(tuple(trees.predict_proba(side)[:, 1] for side in sides))
    masks = known[0], known[1]
    area, found = crossed_auc(fits[0], fits[1], masks), crossed(fits[0], fits[1], masks)
    p = float(norm.sf((found.centre - 0.5) / found.error)) if found.error else float(found.centre <= 0.5)
    return [area, Estimate(SHIFT_P_VALUE, p, area.n, ci_method="normal, of two fits")]


def by_labels(images: list[Array], labels: list[Integers], classes: int, seed: int) -> Estimate:
    """Return the p-value that labels fit the images of both groups alike: of the log-probabilities that trees give them."""
    together = np.concatenate(labels)
    if classes > MOST_CLASSES:
        return Estimate(SHIFT_P_VALUE, None, len(together), reason=f"is for {MOST_CLASSES} classes at most, not {classes}")
    scores = _given(np.concatenate(images), together, seed)
    sides = np.split(scores, [len(labels[0])])
    strata = [[side[own == one] for one in np.unique(together)] for side, own in zip(sides, labels, strict=True)]
    return Estimate(SHIFT_P_VALUE, rank_difference(strata[0], strata[1], seed), len(together), ci_method=EXACT)


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


def _labels(part: Split, seed: int) -> Integers:
    return part.labels[sampled(len(part), SAMPLES, seed)]
