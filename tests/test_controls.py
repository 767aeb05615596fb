"""Controls of membership inference: each sees what it is for, holds its level, and stands in the way of no real leak."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from PIL import Image
from scipy import stats

import securitynet
from securitynet.cache import ArrayCache
from securitynet.controls.blind import CLASSES, LABELS, blind, by_view, matched
from securitynet.controls.out_model import settings_for
from securitynet.controls.twins import twins, without_twins
from securitynet.controls.views import VIEWS
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.metrics.exact import rank_difference, share_difference
from securitynet.metrics.exposure import alone, expected_alone, p_values, q_values
from securitynet.metrics.simultaneous import area, beyond, halved, weighted_area
from securitynet.metrics.vocabulary import SHIFT_P_VALUE
from securitynet.references import reference_networks


def textured(n: int, seed: int, noise: float = 12) -> tuple[np.ndarray, np.ndarray]:
    """Colour images [n, 32, 32, 3] of ten classes: smooth shapes, and texture as photographs have."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    rows, columns = np.mgrid[0:32, 0:32] / 32
    waves = np.stack([np.sin(2 * np.pi * (rows * (1 + one % 3) + columns * (1 + one // 3))) for one in range(10)])
    images = 128 + 50 * waves[labels][..., None] * rng.uniform(0.5, 1, (n, 1, 1, 3)) + rng.normal(0, noise, (n, 32, 32, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


def photographs(n: int, seed: int) -> np.ndarray:
    """Images uint8 [n, 32, 32, 3] with the spectrum of photographs: amplitude falls as one over frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.maximum(np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None]), 1 / 32)
    fields = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, 3, 32, 32))) / frequency).real
    fields = 0.7 * fields[:, :1] + 0.3 * fields
    return np.clip(128 + 45 * fields / fields.std(), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    found = []
    for image in images:
        Image.fromarray(image).save(stream := io.BytesIO(), "JPEG", quality=quality)
        found.append(np.asarray(Image.open(stream)))
    return np.stack(found)


def splits_of(members: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray], classes: int = 10) -> Splits:
    images = ImageSet("some", ArrayImages(*members), ArrayImages(*others))
    return draw(images, Transform((3, 32, 32)), classes)


def p_of(splits: Splits) -> dict[str, float]:
    found = {name: next(one for one in estimates if one.metric == SHIFT_P_VALUE).value for name, estimates in blind(splits).items()}
    return {name: 1.0 if value is None else value for name, value in found.items()}


def test_nothing_is_seen_where_nothing_differs() -> None:
    ps = p_of(splits_of(textured(300, 0), textured(300, 1)))
    assert set(ps) == {*VIEWS, CLASSES, LABELS}
    assert min(ps.values()) > 0.05 / 6


@pytest.mark.parametrize("quality", [75, 90, 95])
def test_jpeg_is_seen_in_the_compression(quality: int) -> None:
    images, labels = textured(300, 1)
    ps = p_of(splits_of(textured(300, 0), (jpeg(images, quality), labels)))
    assert ps["compression"] < 1e-4 and ps[CLASSES] > 0.01


def test_class_shares_are_named_and_images_compared_at_equal_ones() -> None:
    (images, labels), members = textured(900, 1), textured(400, 0)
    kept = np.r_[np.flatnonzero(labels == 3), np.flatnonzero(labels != 3)[:250]]
    ps = p_of(splits_of(members, (images[kept], labels[kept])))
    assert ps[CLASSES] < 1e-3 and min(ps[name] for name in (*VIEWS, LABELS)) > 0.05 / 6


def test_wrong_labels_of_one_group_are_seen_and_those_of_both_are_not() -> None:
    def spoiled(part: tuple[np.ndarray, np.ndarray], share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = part
        wrong = np.random.default_rng(seed).random(len(labels)) < share
        return images, np.where(wrong, (labels + 3) % 10, labels)

    members, others = textured(600, 0), textured(600, 1)
    assert p_of(splits_of(members, spoiled(others, 0.06, 5)))[LABELS] < 1e-3
    assert p_of(splits_of(spoiled(members, 0.06, 4), spoiled(others, 0.06, 5)))[LABELS] > 0.01


def test_matched_groups_have_equal_class_counts() -> None:
    rng = np.random.default_rng(0)
    mine, theirs = rng.integers(0, 5, 300), rng.integers(1, 7, 200)
    chosen = matched(mine, theirs, 0)
    assert np.array_equal(np.bincount(mine[chosen[0]], minlength=7), np.bincount(theirs[chosen[1]], minlength=7))
    assert all(len(set(one.tolist())) == len(one) for one in chosen)


def test_the_view_holds_its_level_where_deviations_of_folds_would_not() -> None:
    rng = np.random.default_rng(1)
    ps = [by_view(rng.normal(size=(120, 6)), rng.normal(size=(120, 6)), seed)[1].value or 0.0 for seed in range(100)]
    assert sum(p <= 0.05 for p in ps) <= 11  # P(more than 11 of 100 at 5 %) = .4 %


def test_exact_tests_agree_with_scipy_and_hold_their_level() -> None:
    first, second = np.array([30, 20, 50]), np.array([45, 25, 30])
    expected = stats.chi2_contingency(np.stack([first, second]), correction=False).pvalue
    assert share_difference(first, second) == pytest.approx(expected, abs=0.01)
    assert share_difference(first, first) == 1.0
    rng = np.random.default_rng(2)
    ps = [rank_difference([rng.normal(size=60)], [rng.normal(size=90)], seed, 999) for seed in range(200)]
    assert sum(p <= 0.05 for p in ps) <= 19
    few = np.r_[rng.normal(size=570), rng.normal(-8, 1, size=30)]
    assert rank_difference([rng.normal(size=600)], [few]) < 1e-3  # 5 % far out, which an AUC of .525 hardly shows
    assert share_difference(np.zeros(3, int), first) == rank_difference([np.zeros(0)], [few]) == 1.0


def test_twins_are_found_counted_and_left_out() -> None:
    images, others, labels = photographs(200, 0), photographs(200, 1), np.zeros(200, int)
    other_labels = labels.copy()
    others[:20], other_labels[:20] = images[:20], labels[:20]
    others[20:30] = jpeg(images[20:30], 90)
    splits = splits_of((images, labels), (others, other_labels))
    assert splits.members is not None and splits.non_members is not None
    found = twins(splits.members, splits.non_members)
    assert [np.flatnonzero(mask).tolist() for mask in found.exact] == [list(range(20))] * 2
    assert [np.flatnonzero(mask).tolist() for mask in found.near] == [list(range(20, 30))] * 2
    cache = ArrayCache(None)
    rest, again = without_twins(splits, cache)[0], without_twins(splits, cache)[0]
    assert rest.members is not None and rest.non_members is not None and again.manifest == rest.manifest != splits.manifest
    assert rest.members.indices.tolist() == rest.non_members.indices.tolist() == list(range(30, 200))
    clean = splits_of((photographs(200, 0), labels), (photographs(200, 2), labels))
    assert without_twins(clean, cache)[0] is clean
    same = without_twins(splits_of((images[:90], labels[:90]), (images[:100], labels[:100])), cache)[0]
    assert same.members is None and same.non_members is None and "every training image" in str(same.missing) and same.manifest


def test_images_of_few_pixels_are_compared_for_equality_only() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (400, 2, 2), dtype=np.uint8)
    labels = rng.integers(0, 3, 400)
    pixels[200] = pixels[0]
    splits = draw(
        ImageSet("some", ArrayImages(pixels[:200], labels[:200]), ArrayImages(pixels[200:], labels[200:])), Transform((1, 2, 2)), 3
    )
    rest, found = without_twins(splits, ArrayCache(None))
    assert found is not None and not any(mask.any() for mask in found.near)
    assert rest.members is not None and 0 not in rest.members.indices and len(rest.members) >= 195
    seen = blind(rest)
    assert [one.reason for one in seen["compression"]] == ["the images are too small for it"] * 2
    assert all(one.value is not None for name in ("layout", "tone", "spectrum") for one in seen[name])


def test_weighted_areas_are_those_of_repeated_samples() -> None:
    rng = np.random.default_rng(3)
    members, others, weights = rng.normal(1, 1, 50), rng.normal(size=40).round(1), rng.integers(1, 4, 40).astype(float)
    repeated = np.repeat(others, weights.astype(int))
    assert weighted_area(members, others, None, weights).value == pytest.approx(area(members, repeated).value)
    plain, known = weighted_area(members, others), (rng.random(50) < 0.5, rng.random(40) < 0.5)
    assert plain.value == pytest.approx(area(members, others).value)
    assert plain.error == pytest.approx(area(members, others).error, rel=0.1)
    parts = [weighted_area(members, others, masks) for masks in (known, (~known[0], ~known[1]))]
    assert halved(parts).value == pytest.approx(np.mean([part.value for part in parts]))
    assert beyond(plain, plain).value == 0 and beyond(plain, plain).error < plain.error / 3


def test_p_and_q_values_against_scipy() -> None:
    rng = np.random.default_rng(4)
    scores, others = rng.normal(0.5, 1, 100), rng.normal(size=399)
    p = p_values(scores, others)
    assert p == pytest.approx([(1 + (others >= one).sum()) / 400 for one in scores])
    assert q_values(p) == pytest.approx(stats.false_discovery_control(p))
    assert len(q_values(p[:0])) == 0 and expected_alone(4000, 1000) == pytest.approx(4.0, abs=0.01)
    lucky = [alone(rng.normal(size=400), rng.normal(size=100)) for _ in range(300)]
    assert np.mean(lucky) == pytest.approx(expected_alone(400, 100), abs=1.0)


def test_the_out_model_holds_no_image_that_it_scores(tmp_path: Any) -> None:
    splits = splits_of(textured(40, 0), textured(40, 1))
    made = reference_networks(splits, settings_for(80), Accelerator(cpu=True), ArrayCache(tmp_path))
    assert np.array_equal(made[0][1], ~made[1][1]) and made[0][1].sum() == 40


@pytest.mark.parametrize("case", ["copies", "leak"])
def test_conclusions_through_evaluate(case: str, tmp_path: Any) -> None:
    if case == "leak":
        result = securitynet.evaluate("builtin/digits-overfit", attacks=["membership/loss", "membership/entropy"], cache_dir=tmp_path)
        summary = result.summary()
        assert summary["headline"]["separation"]["leak"] and "leaks membership" in summary["meaning"]
        assert summary["headline"]["separation"]["out_model"] == "trained" and "did not see the images" in summary["meaning"]
        (row,) = (row for row in result.rows if (row.attack, row.metric) == ("membership/loss", "auc_beyond_out_model"))
        assert row.ci_low is not None and row.ci_low > 0 and row.status == "ok"
        return
    target = securitynet.load_model("builtin/digits-overfit")
    target = replace(target, entry=replace(target.entry, claimed_accuracy=None))
    from securitynet.data.digits import digits, image_set

    pixels, labels = digits()
    unseen = np.setdiff1d(np.arange(len(labels)), image_set(target.entry, target.folder).members)
    wrong = (np.arange(len(unseen)) % 2 == 1) & (np.random.default_rng(0).random(len(unseen)) < 0.25)
    given = np.where(wrong, (labels[unseen] + 1) % 10, labels[unseen])
    pool = ArrayImages(pixels[unseen], given)
    data = ImageSet("digits", pool, pool, membership="index-file", members=np.arange(0, len(unseen), 2))
    result = securitynet.evaluate(target, data, ["membership/loss"], cache_dir=tmp_path)
    assert "leaks" not in result.summary()["meaning"] and "labels" in result.summary()["meaning"]
    rows = [row for row in result.rows if row.attack == "membership/loss" and row.metric == "auc"]
    assert rows[0].status == "suspect" and (rows[0].value or 0) > 0.55
