"""Smallest perturbations against closed forms, attacks on an endpoint, corruptions, copies, pages, relations across families."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from blackbox import CLASSES, SIDE, Network, images, probabilities
from evading import ENTRY, Linear, grey, splits, target, trained
from scipy import stats

import securitynet
from securitynet.attacks.evasion import WRONG
from securitynet.attacks.evasion._corrupted import MADE, corrupted
from securitynet.attacks.evasion.corruptions import PUBLISHED, Corruptions
from securitynet.attacks.evasion.minimum_norm import MinimumNorm, shrunk
from securitynet.attacks.evasion.pgd import Pgd
from securitynet.attacks.evasion.square import Square
from securitynet.attacks.evasion.transfer import Transfer
from securitynet.attacks.stealing._copier import Settings
from securitynet.endpoint import Endpoint
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.metrics.quantiles import quantile
from securitynet.metrics.vocabulary import CORRUPTION_ACCURACY, MINIMUM_NORM, ROBUST_ACCURACY
from securitynet.report.findings.across_families import ROBUST, across_families
from securitynet.report.findings.hypotheses import FINDING, UNTESTED
from securitynet.report.measure_table import measure_table
from securitynet.results.result import Result
from securitynet.results.row import Row
from securitynet.training import Recipe

ROOT = Path(__file__).parents[1]


def benchmark() -> Any:
    """The benchmark's module: its solution of the problem with an active box is the reference here."""
    spec = importlib.util.spec_from_file_location("evasion_benchmark", ROOT / "benchmarks" / "evasion.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
@pytest.mark.parametrize(("low", "high"), [(100, 156), (0, 256)])
def test_smallest_perturbations_of_linear_models(norm: str, low: int, high: int) -> None:
    """To 1 % of the closed form where no pixel reaches 0 or 1, and of the problem's optimum where some do."""
    network = Linear()
    parts = grey(network, low=low, high=high)
    assert parts.test is not None
    attack = MinimumNorm(images=32, norm=norm, epsilon=0.1)
    evidence = attack(target(network, replace(ENTRY, num_classes=2)), parts, Accelerator())
    weight = (network.weight[0] - network.weight[1]).detach().double().numpy()
    x = parts.test.pixels(evidence.found.positions).flatten(1).double().numpy()
    nearest = benchmark().nearest
    true = np.asarray([nearest(one, weight, norm) for one in x])
    if low == 100:
        dual = {"Linf": np.abs(weight).sum(), "L2": np.linalg.norm(weight), "L1": np.abs(weight).max()}[norm]
        assert np.allclose(true, np.abs((x - 0.5) @ weight) / dual), "the reference itself"
    assert (evidence.distances >= true * (1 - 1e-4)).all() and (evidence.distances <= true * 1.01).all()


def test_the_reference_of_the_box_is_the_quadratic_programmes() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    x, weight = rng.random(12), rng.normal(size=12)
    need = weight @ (x - 0.5)
    limits = [(-one, 1 - one) for one in x]
    found = minimize(
        lambda d: d @ d, np.zeros(12), jac=lambda d: 2 * d, bounds=limits, constraints={"type": "eq", "fun": lambda d: need + weight @ d}
    )
    assert found.success and benchmark().nearest(x, weight, "L2") == pytest.approx(float(np.sqrt(found.fun)), rel=1e-4)


def test_the_curve_is_the_distances_distribution() -> None:
    evidence = MinimumNorm(images=60, epsilon=0.1)(target(trained()), splits(), Accelerator())
    found = evidence.metrics()
    curve = {one.epsilon: one.value for one in found if one.metric == ROBUST_ACCURACY}
    assert list(curve) == pytest.approx([0.025, 0.05, 0.1, 0.2, 0.4])
    assert all(value == (evidence.distances > epsilon).mean() for epsilon, value in curve.items() if epsilon is not None)
    assert sorted(curve.values(), reverse=True) == list(curve.values())
    middle = next(one for one in found if one.metric == MINIMUM_NORM)
    assert middle.epsilon is None and middle.norm == "Linf" and middle.value == np.sort(evidence.distances)[29]
    pgd = Pgd(images=60, epsilon=0.1)(target(trained()), splits(), Accelerator())
    assert curve[0.1] is not None and curve[0.1] <= (pgd.by == -1).mean() + 0.05, "about as strong as PGD"


@pytest.mark.parametrize("radius", [0.1, 1.0, 100.0])
def test_projection_to_the_l1_ball_is_the_nearest_point(radius: float) -> None:
    change = torch.randn(20, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    near = shrunk(change, "L1", torch.full((20,), radius, dtype=torch.float64))
    assert (near.flatten(1).abs().sum(1) <= radius + 1e-9).all()
    other = near + 0.01 * torch.randn(50, 20, 1, 3, 3, generator=torch.Generator().manual_seed(1)).double()
    held = other.flatten(2).abs().sum(2) <= radius
    farther = (other - change).flatten(2).norm(dim=2) >= (near - change).flatten(1).norm(dim=1) - 1e-9
    assert farther[held].all()


@pytest.mark.parametrize(("share", "n"), [(0.5, 20), (0.1, 64), (0.9, 500)])
def test_intervals_of_quantiles_cover(share: float, n: int) -> None:
    """At least 95 % over draws of a skewed distribution, whatever it is; ends that no sample can give are open."""
    rng, true, covered = np.random.default_rng(0), stats.lognorm.ppf(share, 1.0), 0
    for _ in range(1000):
        found = quantile(MINIMUM_NORM, rng.lognormal(size=n), share)
        covered += (found.ci_low is None or found.ci_low <= true) and (found.ci_high is None or true <= found.ci_high)
    assert covered >= 938  # 95 % less two standard errors of 1,000 draws
    unknown = quantile(MINIMUM_NORM, np.asarray([1.0, np.inf, np.inf]), 0.5)
    assert unknown.value is None and unknown.ci_high is None and unknown.reason


def test_square_works_on_an_endpoint_and_counts_its_queries(tmp_path: Path) -> None:
    sent: list[np.ndarray] = []

    def service(pixels: np.ndarray) -> np.ndarray:
        sent.append(pixels)
        return probabilities(pixels)

    endpoint = Endpoint(service, input_size=(3, SIDE, SIDE), classes=CLASSES, name="test/service", version="1")
    attacks = [Square(images=30, queries=40, epsilon="8/255"), Pgd(images=30)]
    result = securitynet.evaluate(endpoint, images(), attacks, cache_dir=tmp_path)
    rows = {(row.attack, row.metric): row for row in result.rows}
    robust = rows["evasion/square", ROBUST_ACCURACY]
    assert robust.value is not None and robust.n == 30 and robust.status == "ok" and robust.norm == "Linf"
    assert 0 < rows["evasion/square", "attack_success"].value < 1  # type: ignore[operator]
    assert rows["evasion/pgd", ""].status == "skipped" and "gradients" in (rows["evasion/pgd", ""].reason or "")
    assert all(one.dtype == np.uint8 for one in sent)
    assert robust.queries is not None and sum(map(len, sent)) <= robust.queries + 2 * 240
    module = Square(images=30, queries=40, epsilon="8/255")(
        target(Network(), Entry(id="t", num_classes=CLASSES, input_size=(3, SIDE, SIDE))), result.splits, Accelerator()
    )
    assert (module.by != -1).mean() == pytest.approx(1 - robust.value, abs=0.1), "the same network, not rounded to 8 bits"


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (96, 80, 3)])
def test_corruptions_keep_shape_and_grow_with_severity(shape: tuple[int, int, int]) -> None:
    smooth = np.linspace(40, 200, shape[0])[:, None, None] + 30 * np.sin(np.arange(shape[1]) / 3)[None, :, None]
    image = np.broadcast_to(smooth, shape).clip(0, 255).astype(np.uint8)
    for name in MADE:
        changed = [corrupted(image, name, severity, np.random.default_rng(0)).astype(float) for severity in (1, 3, 5)]
        assert all(one.shape == shape for one in changed)
        far = [float(np.abs(one - image).mean()) for one in changed]
        assert far[0] <= far[2] and far[2] > 0.2, (name, far)


def test_corruptions_are_what_their_authors_define() -> None:
    flat = np.full((32, 32, 3), 128, np.uint8)
    noise = corrupted(flat, "gaussian_noise", 5, np.random.default_rng(0)) / 255
    assert noise.std() == pytest.approx(0.10, rel=0.05) and noise.mean() == pytest.approx(0.5, abs=0.01)
    photons = corrupted(flat, "shot_noise", 5, np.random.default_rng(0)) / 255
    assert photons.var() == pytest.approx((128 / 255) / 50, rel=0.1)
    salted = corrupted(flat, "impulse_noise", 5, np.random.default_rng(0))
    assert np.isin(salted, (0, 255)).mean() == pytest.approx(0.07, abs=0.015)
    colour = np.zeros((4, 4, 3), np.uint8) + np.asarray([200, 100, 0], np.uint8)
    import colorsys

    hue, saturation, value = colorsys.rgb_to_hsv(*(np.asarray([200, 100, 0]) / 255))
    expected = np.asarray(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.2))) * 255
    assert np.abs(corrupted(colour, "brightness", 4, np.random.default_rng(0))[0, 0] - expected).max() <= 1
    step = np.concatenate([np.zeros((8, 16, 1), np.uint8), np.full((8, 16, 1), 200, np.uint8)])
    assert np.ptp(corrupted(step, "contrast", 5, np.random.default_rng(0)).astype(int)) == pytest.approx(0.15 * 200, abs=1)


def test_accuracy_under_corruptions_and_the_published_files(tmp_path: Path) -> None:
    evidence = Corruptions(images=40)(target(trained()), splits(), Accelerator())
    one, clean = evidence.metrics()
    assert one.metric == CORRUPTION_ACCURACY and one.threat_model == "corruptions" and one.complete is False and one.norm is None
    assert one.value == pytest.approx(np.mean([right.mean() for right in evidence.right.values()]))
    assert (one.value or 1) < (clean.value or 0)
    assert evidence.queries == 40 + 40 * len(MADE) * 5
    with pytest.raises(UsageError, match=r"has no gaussian_noise.npy"):
        Corruptions(folder=str(tmp_path))(target(trained()), splits(), Accelerator())
    for name in PUBLISHED:
        np.save(tmp_path / f"{name}.npy", np.zeros((10, 32, 32, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(10, np.uint8))
    with pytest.raises(UsageError, match="not those of this test set"):
        Corruptions(folder=str(tmp_path))(target(trained()), splits(), Accelerator())


def test_published_files_are_read_in_the_order_of_the_test_set(tmp_path: Path) -> None:
    """Each corruption of each severity is a set of images of its own; here all are the clean ones but one, which is black."""
    from securitynet.data import ArrayImages, ImageSet, draw
    from securitynet.data.transform import Transform

    entry = Entry(id="test/cifar", num_classes=2, input_size=(3, 32, 32))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2, (20, 1, 1, 1)).astype(np.uint8) * 200 + np.zeros((20, 32, 32, 3), np.uint8) + 20
    labels = (pixels[:, 0, 0, 0] > 100).astype(np.int64)
    for name in PUBLISHED:
        stored = np.concatenate([pixels] * 5)
        if name == "fog":
            stored[60:80] = 0  # severity 4
        np.save(tmp_path / f"{name}.npy", stored)
    np.save(tmp_path / "labels.npy", np.concatenate([labels] * 5).astype(np.uint8))

    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.flatten(1).mean(1)
            return torch.stack([0.4 - mean, mean - 0.4], 1)

    parts = draw(ImageSet("cifar", None, ArrayImages(pixels, labels)), Transform((3, 32, 32)), 2)
    evidence = Corruptions(folder=str(tmp_path), images=20)(target(Bright(), entry), parts, Accelerator())
    wrong = {(name, level) for name, right in evidence.right.items() for level in range(5) if not right[level].all()}
    assert wrong == {("fog", 3)} and evidence.metrics()[0].complete is True


QUICK = Settings(recipe=Recipe(epochs=1, batch_size=64), least_steps=5, surrogate="nets:small_cnn", transfer=None)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    from securitynet.data.digits import digits

    pixels, labels = digits()
    arrays = {"x_train": pixels[:400], "y_train": labels[:400], "x_test": pixels[400:600], "y_test": labels[400:600]}
    facts = {"input_size": [1, 8, 8], "num_classes": 10}
    attacks = [Pgd(images=40, epsilon=0.15), MinimumNorm(images=40, epsilon=0.15, steps=20)]
    return securitynet.evaluate(trained(), arrays, attacks, preprocessing=facts, cache_dir=tmp_path_factory.mktemp("cache"))


def test_the_page_shows_attacked_images_and_the_curve(result: Result, tmp_path: Path) -> None:
    from securitynet.report.page.evaded import evaded, evasion_charts
    from securitynet.report.page.report_page import write_page
    from securitynet.report.saved_result import read_saved

    folder = result.save(tmp_path / "saved")
    saved = read_saved(folder)
    shown = {one.title: one for one in evaded(saved)}
    assert list(shown) == ["Evasion: pgd", "Evasion: minimum_norm"] or list(shown) == ["Evasion: pgd", "Evasion: minimum norm"]
    pgd = shown["Evasion: pgd"]
    assert len(pgd.pairs) == 6 and "of 40 images under attack (Linf 0.15)" in pgd.words
    assert all(pair.before.startswith("label ") and pair.after.startswith("class ") for pair in pgd.pairs)
    (chart,) = evasion_charts(saved)
    assert len(chart.curves[0].marks) == 5 and chart.across == "epsilon (Linf)"
    page = write_page([folder], saved.rows, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("their difference") >= 12 and "Robustness curve" in page and "robust accuracy (Linf 0.15)" in page


def test_rows_of_one_evaluation_do_not_collide(result: Result) -> None:
    ids = [row.row_id for row in result.rows]
    assert len(ids) == len(set(ids))
    assert {row.epsilon for row in result.rows if row.metric == ROBUST_ACCURACY} == {0.15 * factor for factor in (0.25, 0.5, 1.0, 2.0, 4.0)}
    told = {name for name in measure_table(result.rows).measures if name.endswith(ROBUST_ACCURACY)}
    assert len(told) == 6, "five epsilons of one attack, one of the other"


def test_copies_are_attacked_for_their_originals() -> None:
    """Images made on the copy; with the target as its own copy they would all transfer, with this one some do."""
    attack = Transfer(images=30, epsilon=0.3, budget=100, iterations=10, settings=replace(QUICK, surrogate="auto"))
    evidence = attack(target(trained()), splits(), Accelerator())
    assert evidence.stages == ("apgd-ce",) and "made on a copy trained with" in (evidence.remark or "")
    assert evidence.backward == 0, "no gradient of the target"
    right = int((evidence.by != WRONG).sum())
    assert evidence.queries <= 100 + 30 + 3 * right


def rows_of(n: int, effect: float, dataset: str = "CIFAR-10", seed: int = 0) -> list[Row]:
    """Models whose membership AUC follows their robust accuracy, beside the accuracy that both depend on."""
    rng = np.random.default_rng(seed)
    accuracy, robust, noise = rng.normal(size=(3, n))
    facts = {"dataset": dataset, "origin": "securitynet"}
    found = []
    for number in range(n):
        values = {
            ("verify", "verify", "test_accuracy"): 0.8 + 0.02 * accuracy[number],
            ("evasion", "evasion/autoattack", ROBUST_ACCURACY): 0.5 + 0.03 * (accuracy[number] + robust[number]),
            ("membership", "membership/loss", "auc"): 0.6 + 0.01 * (accuracy[number] + effect * robust[number] + 0.3 * noise[number]),
        }
        threat = {"norm": "Linf", "epsilon": 8 / 255, "threat_model": "adversarial"}
        for (family, attack, metric), value in values.items():
            more: dict[str, Any] = threat if family == "evasion" else {}
            found.append(Row(entry=f"test/{number}", family=family, attack=attack, metric=metric, value=float(value), **facts, **more))
    return found


@pytest.mark.parametrize(("effect", "finding"), [(1.0, True), (0.0, False), (-1.0, True)])
def test_relations_across_families_hold_accuracy_equal(effect: float, finding: bool) -> None:
    """A planted relation is found with its sign; a common dependence on accuracy alone is none."""
    entries = {f"test/{n}": Entry(id=f"test/{n}", family=f"family {n % 7}", year=2018 + n % 5) for n in range(42)}
    (one,) = [
        test for test in across_families(measure_table(rows_of(42, effect), entries)) if test.verdict != UNTESTED and test.x != ROBUST
    ]
    assert one.kind == "families" and one.n == 42 and (one.verdict == FINDING) is finding
    assert "membership" not in one.x and one.p_holm is not None
    if finding:
        assert one.numbers is not None and one.numbers.coefficient * effect > 0  # type: ignore[union-attr]


def test_none_from_fewer_than_ten_models_and_none_over_datasets() -> None:
    rows = [*rows_of(9, 1.0), *rows_of(9, 1.0, "CIFAR-100", 1)]
    (first, second) = [test for test in across_families(measure_table(rows)) if test.x != ROBUST]
    assert (first.verdict, second.verdict) == (UNTESTED, UNTESTED) and "9 models" in (first.reason or "")
