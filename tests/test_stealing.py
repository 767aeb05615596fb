"""Model stealing: planted targets, exact counts, controls, resuming; metrics are tested in test_stealing_metrics."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hub import Hub
from PIL import Image
from stolen import FACTS, QUICK, SMALL, Counting, arrays, images, quarters, splits_of, target_module, target_of
from torch import nn

import securitynet
from securitynet.attacks.resolve import name_of, resolve
from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing import _pools as pools
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet
from securitynet.errors import DataError, Skipped, UsageError
from securitynet.hub import push_model
from securitynet.loaders import load_model
from securitynet.metrics.intervals import Estimate
from securitynet.results.store import read_rows
from securitynet.target import query
from securitynet.training import Recipe

ATTACK = Knockoff(budgets=(10, 60, 300), settings=SMALL)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return target_module()


@pytest.fixture(scope="module")
def stolen(module: nn.Module, accelerator: Accelerator) -> StealingEvidence:
    target = target_of(module)
    return ATTACK(target, splits_of(target), accelerator)


def by_name(evidence: StealingEvidence) -> dict[str, Estimate]:
    largest = max(copy.budget for copy in evidence.copies)
    return {one.metric: one for one in evidence.metrics() if one.budget in (None, largest)}


def test_the_name_is_the_path() -> None:
    assert "stealing/knockoff" in [name_of(one) for one in resolve("stealing:standard")]
    full = [one for one in resolve("stealing:full") if name_of(one) == "stealing/knockoff"]
    assert [asdict(one)["preset"] for one in full] == ["base", "wide_surrogate", "ood_queries"]  # type: ignore[call-overload]


def test_more_queries_copy_more(stolen: StealingEvidence) -> None:
    found = by_name(stolen)
    (smaller,) = (one.value for one in stolen.metrics() if (one.metric, one.budget) == ("agreement", 10))
    assert smaller < found["agreement"].value  # type: ignore[operator]
    assert found["agreement"].value > 0.9  # type: ignore[operator]
    assert found["no_query_agreement"].value < 0.6  # type: ignore[operator]
    assert found["agreement"].n == 200 and found["agreement_on_errors"].n == (stolen.target.predictions != stolen.target.labels).sum()


def test_the_evaluation_is_complete_and_nobody_asked_about_it(stolen: StealingEvidence) -> None:
    """The splits hold 100 test images; the evaluation takes all 200."""
    found = stolen.arrays()
    assert len(stolen.target.labels) == 200 and found["test_indices"].tolist() == list(range(200))
    assert found["query_images"] != found["test_images"]
    assert len(set(found["query_indices"].tolist())) == 300 == stolen.queries


def test_sets_that_overlap_or_do_not_nest_are_refused(module: nn.Module) -> None:
    splits = splits_of(target_of(module))
    pool, test = pools.pool_of("in", splits, 1000), pools.evaluation_split(splits)
    queries = pool.part(pool.order(0)[:50])
    pools.check(queries, test, (10, 50))
    with pytest.raises(DataError, match="evaluation are among"):
        pools.check(pools.Pool(test, True).part(np.arange(5)), test, (5,))
    with pytest.raises(DataError, match="twice"):
        pools.check(pool.part(np.array([1, 1])), test, (2,))
    for budgets in ((50, 10), (10, 51), (10, 10, 20), (0, 50)):
        with pytest.raises(DataError, match="budgets"):
            pools.check(queries, test, budgets)


def test_queries_are_counted_exactly(module: nn.Module, accelerator: Accelerator) -> None:
    """Once the evaluation's images are known, the model sees the queries and nothing else, each once, however many budgets."""
    counting = Counting(module)
    target = target_of(counting)
    splits = splits_of(target)
    thief = Thief.of(target, splits, accelerator, SMALL)
    query(target, thief.test, accelerator)
    counting._seen.clear()
    order = thief.pool.order(0)
    thief.answer(order[:70])
    thief.answer(order[:101])
    thief.answer(order[32:96])
    assert thief.queries == 101 and counting._seen == [64, 6, 31]
    made = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 1, 8, 8)
    assert thief.ask(made).logits.shape == (9, 4)
    assert thief.queries == 110 and sum(counting._seen) == 110
    thief.ask(made[:5])  # the attack counts them again, the model does not see them again
    assert thief.queries == 115 and sum(counting._seen) == 110


def test_a_second_run_asks_and_trains_nothing(
    module: nn.Module, accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = replace(target_of(module), cache=ArrayCache(tmp_path))
    attack = replace(ATTACK, budgets=(40, 80))
    first = attack(target, splits_of(target), accelerator).metrics()
    monkeypatch.setattr("securitynet.attacks.stealing._copier.train", None)
    monkeypatch.setattr("securitynet.target._ask", None)
    again = replace(target_of(module), cache=ArrayCache(tmp_path))
    assert attack(again, splits_of(again), accelerator).metrics() == first
    assert not list((tmp_path / "training").glob("*.safetensors"))


def test_every_budget_starts_afresh(module: nn.Module, accelerator: Accelerator) -> None:
    """The published code of knockoff nets trains the surrogate of the last budget on; ours does not depend on other budgets."""
    target = target_of(module)
    alone = replace(ATTACK, budgets=(60,))(target, splits_of(target), accelerator)
    among = ATTACK(target_of(module), splits_of(target), accelerator)
    np.testing.assert_array_equal(alone.copies[0].logits, among.copies[1].logits)


def test_selection_never_sees_the_evaluation(module: nn.Module, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Early stopping validates on queries held out; the copies are the same whatever the evaluation's images are."""
    settings = replace(SMALL, recipe=replace(QUICK, patience=2, epochs=12), held_out=0.2)
    seen: list[tuple[int, int]] = []
    from securitynet.attacks.stealing import _copier as copier

    train = copier.train

    def watched(network, images, targets, recipe, accelerator, **rest):  # type: ignore[no-untyped-def]
        seen.append((len(images), len(rest["validation"][0])))
        rows = {image.tobytes() for image in images.numpy()}
        assert not any(image.tobytes() in rows for image in rest["validation"][0].numpy())
        return train(network, images, targets, recipe, accelerator, **rest)

    monkeypatch.setattr(copier, "train", watched)
    target = target_of(module)
    attack = Knockoff(budgets=(100,), settings=settings)
    first = attack(target, splits_of(target), accelerator)
    assert seen == [(80, 20), (80, 20), (320, 80)], "the surrogate, its control, the owner of the labels of all 400"
    other = ImageSet("quarters", images().train, ArrayImages(*quarters(150, seed=9)), "revision")
    second = attack(target_of(module), splits_of(target, other), accelerator)
    weights = [evidence.copies[0].surrogates[0].weights_sha256 for evidence in (first, second)]
    assert weights[0] == weights[1] and len(second.target.labels) == 150


class Constant(nn.Module):
    """Names class 2 whatever it sees."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.new_tensor([0.0, 0.0, 9.0, 0.0]).repeat(len(pixels), 1)


class Arbitrary(nn.Module):
    """Answers by the bits of the image's sum: no network learns that."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        bits = (pixels.mul(255).round().sum((1, 2, 3)).long() * 2654435761 >> 7) % 4
        return 6 * nn.functional.one_hot(bits, 4).float()


def test_a_constant_target_gives_nothing_away(accelerator: Accelerator) -> None:
    target = target_of(Constant())
    found = by_name(replace(ATTACK, budgets=(200,))(target, splits_of(target), accelerator))
    assert found["agreement"].value == found["constant_agreement"].value == 1
    assert found["excess_agreement"].value == 0 and found["excess_agreement"].reason == "above the control: the most frequent class"


def test_a_random_target_gives_nothing_away(accelerator: Accelerator) -> None:
    target = target_of(Arbitrary())
    found = by_name(replace(ATTACK, budgets=(200,))(target, splits_of(target), accelerator))
    excess = found["excess_agreement"]
    assert excess.ci_low is not None and excess.ci_low <= 0.02 and found["agreement"].value < 0.4  # type: ignore[operator]


class Logits(nn.Module):
    """A target whose logits are far from probabilities: shifted by a thousand."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.inner(pixels) + 1000


def test_soft_answers_of_a_model_that_gives_logits(module: nn.Module, stolen: StealingEvidence, accelerator: Accelerator) -> None:
    """ART trains on raw outputs: accuracy 0.09 and KL nan from a logit model. Ours reads probabilities whatever the target returns."""
    target = target_of(Logits(module))
    shifted = by_name(replace(ATTACK, budgets=(300,))(target, splits_of(target), accelerator))
    assert shifted["agreement"].value == pytest.approx(by_name(stolen)["agreement"].value, abs=0.02)
    assert 0 <= shifted["kl"].value < 0.2  # type: ignore[operator]


def test_a_step_starts_from_zero_gradients_and_the_loss_falls(module: nn.Module, accelerator: Accelerator) -> None:
    """ML-Doctor never zeroes gradients and regresses logits on posteriors: nothing is learnt. A copy of the copy's answers must be near."""
    target = target_of(module)
    thief = Thief.of(target, splits_of(target), accelerator, replace(SMALL, recipe=replace(QUICK, epochs=30)))
    positions = np.arange(300)
    copy = thief.fit(positions, thief.answer(positions))
    own = thief.outputs(copy, positions).log_probabilities
    divergence = (thief.probabilities(positions) * (np.log(thief.probabilities(positions)) - own)).sum(1)
    before = thief.outputs(thief.fresh(), positions).log_probabilities
    start = (thief.probabilities(positions) * (np.log(thief.probabilities(positions)) - before)).sum(1)
    assert divergence.mean() < 0.1 * start.mean()


def test_a_network_with_batch_norm_and_one_image_left_over(module: nn.Module, accelerator: Accelerator) -> None:
    """33 images in batches of 32: ART's adaptive mode fits single images, which batch norm refuses."""
    small = replace(SMALL, surrogate="timm:resnet10t", surrogate_args='{"channels": [4, 4, 4, 4], "stem_width": 4}')
    target = target_of(module)
    thief = Thief.of(target, splits_of(target), accelerator, replace(small, least_steps=1, recipe=replace(QUICK, epochs=1)))
    positions = np.arange(33)
    assert thief.outputs(thief.fit(positions, thief.answer(positions))).finite


@pytest.mark.parametrize("pool", ["digits", "noise"])
def test_other_images_have_no_true_labels(pool: str, module: nn.Module, accelerator: Accelerator) -> None:
    target = target_of(module)
    found = by_name(Knockoff(budgets=(60,), settings=replace(SMALL, pool=pool, least_steps=10))(target, splits_of(target), accelerator))
    assert found["control_agreement"].value is None and "no true labels" in (found["control_agreement"].reason or "")
    assert found["excess_agreement"].reason in ("above the control: the most frequent class", "above the control: no queries")


def test_a_budget_beyond_the_pool_is_the_pool(module: nn.Module, accelerator: Accelerator) -> None:
    target = target_of(module)
    settings = replace(SMALL, least_steps=1, recipe=replace(QUICK, epochs=1))
    evidence = Knockoff(budgets=(50, 4000, 9000), settings=settings)(target, splits_of(target), accelerator)
    assert [copy.budget for copy in evidence.copies] == [50, 400] and evidence.queries == 400
    assert Thief.of(target, splits_of(target), accelerator, settings).sizes((1000, 5000)) == [50, 100, 200, 400], "still a curve"


def test_published_weights_are_where_a_copy_may_start(module: nn.Module, accelerator: Accelerator) -> None:
    """The zoo's network takes digits of one channel, 32 x 32; its last layer is new and has the target's classes."""
    target = target_of(module)
    thief = Thief.of(target, splits_of(target), accelerator, replace(SMALL, surrogate="builtin/digits-regular", surrogate_args=None))
    start, again, other = thief.fresh(), thief.fresh(), thief.fresh(1)
    zoo = load_model("builtin/digits-regular")
    resized, _, network = start.module[1]  # type: ignore[index,misc]
    assert resized(torch.rand(2, 1, 8, 8)).shape == (2, 1, 32, 32)
    ours, theirs = network.state_dict(), zoo.module[1].state_dict()  # type: ignore[index]
    differ = [name for name in ours if ours[name].shape != theirs[name].shape or not torch.equal(ours[name], theirs[name])]
    assert differ == ["fc.weight", "fc.bias"] and start.num_classes == 4
    assert all(torch.equal(a, b) for a, b in zip(start.module.state_dict().values(), again.module.state_dict().values(), strict=True))
    assert not torch.equal(network.fc.weight, other.module[1][2].fc.weight)  # type: ignore[index]


def test_bad_settings_are_said_in_words(module: nn.Module, accelerator: Accelerator) -> None:
    for wrong, words in (
        ({"answers": "top"}, "unknown form of answers 'top'; known: probabilities, top-K"),
        ({"held_out": 1.0}, "held_out lies in"),
        ({"recipe": Recipe(patience=2)}, "patience needs"),
    ):
        with pytest.raises(UsageError, match=words):
            Settings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least two queries"):
        Knockoff(budgets=())
    target = target_of(module)
    without = splits_of(target, ImageSet("quarters", images().train, None, "revision"))
    with pytest.raises(Skipped, match="needs test images"):
        ATTACK(target, without, accelerator)


KILLED = """
import sys, os, torch
sys.path.insert(0, {tests!r})
from hub import Hub
from stolen import *
from securitynet.attacks.stealing.knockoff import Knockoff
import securitynet
from securitynet.training.epochs import Run
epoch, count = Run.epoch, [0]
def dying(self, number, held_out=None):
    count[0] += 1
    if count[0] == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return epoch(self, number, held_out)
Run.epoch = dying
layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 4)]
network = nn.Sequential(*layers)
network.load_state_dict(torch.load(sys.argv[3], weights_only=True))
counting = Counting(network)
attack = Knockoff(budgets=(40, 120), settings=SMALL)
result = securitynet.evaluate(counting, arrays(), attack, preprocessing=FACTS, cache_dir=sys.argv[1], samples=100)
result.save(sys.argv[1] + "/saved")
print(sum(counting._seen))
"""


def test_killed_at_any_moment_it_ends_with_the_same_rows(module: nn.Module, tmp_path: Path) -> None:
    """The run dies in the first training, goes on, dies in a later one, goes on and ends; it never asks twice."""
    state, script = tmp_path / "target.pt", tmp_path / "script.py"
    torch.save(module.state_dict(), state)
    script.write_text(KILLED.format(tests=str(Path(__file__).parent)))

    def run(cache: str, die: int) -> tuple[int, int]:
        command = [sys.executable, str(script), str(tmp_path / cache), str(die), str(state)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -9), done.stderr
        return done.returncode, int(done.stdout.split()[-1]) if done.stdout.strip() else -1

    assert run("whole", 0)[0] == 0
    codes = [run("parts", die) for die in (2, 20)]
    assert [code for code, _ in codes] == [-9, -9]
    code, shown = run("parts", 0)
    assert code == 0 and shown == 0  # all answers were cached before the first training
    rows = [read_rows(tmp_path / cache / "saved" / "rows.jsonl") for cache in ("whole", "parts")]
    price = {"seconds": None, "peak_memory": None, "date": None}
    stealing = [[replace(row, **price) for row in some if row.family == "stealing"] for some in rows]
    assert stealing[0] == stealing[1] and len(stealing[0]) > 20


def test_rows_and_files(module: nn.Module, tmp_path: Path) -> None:
    attack = replace(ATTACK, budgets=(40, 120), settings=replace(SMALL, repeats=2))
    result = securitynet.evaluate(module, arrays(), attack, preprocessing=FACTS, cache_dir=tmp_path, samples=100)
    assert result.value("stealing/knockoff", "agreement") is not None
    rows = [row for row in result.rows if row.family == "stealing"]
    assert {row.queries for row in rows} == {120} and all(row.status in ("ok", "skipped") for row in rows)
    assert next(row for row in rows if row.metric == "agreement").ci_method == "Student's t, adjusted, given 2 surrogates"
    assert "more than without" in result.summary()["meaning"] or "no more than" in result.summary()["meaning"]
    evidence = next(iter(result.evidence.values()))
    assert evidence["predictions_120"].shape == (2, 200)


def test_a_copy_is_a_model_like_any_other(module: nn.Module, accelerator: Accelerator, hub: Hub, tmp_path: Path) -> None:
    target = target_of(module)
    target = replace(target, entry=replace(target.entry, dataset="quarters"))
    thief = Thief.of(target, splits_of(target), accelerator, replace(SMALL, least_steps=1, recipe=replace(QUICK, epochs=1)))
    positions = np.arange(60)
    copy = thief.fit(positions, thief.answer(positions))
    push_model(copy, "tester/stolen-copy", annotation={"licence": "MIT"})
    again = load_model("hf-hub:tester/stolen-copy", cache_dir=tmp_path)
    pixels = torch.rand(5, 1, 8, 8)
    assert torch.equal(again.module(pixels), copy.module(pixels)) and again.entry.architecture == "nets:tinyvgg"


def test_queries_from_a_dataset_on_the_hub(module: nn.Module, accelerator: Accelerator, hub: Hub) -> None:
    """Colour images of another size, three classes of their own: they become grey, 8 x 8, and have no true labels."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    pictures = [Image.fromarray(one) for one in np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)]
    table = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 2] * 20}, features=features)
    datasets.DatasetDict({"train": table}).push_to_hub("securitynet/queries")
    attack = Knockoff(budgets=(20, 50), settings=replace(SMALL, least_steps=1, pool="securitynet/queries"))
    metrics = {(one.metric, one.budget): one for one in attack(target_of(module), splits_of(target_of(module)), accelerator).metrics()}
    assert metrics["agreement", 50].value is not None and metrics["agreement", 20].n == 200
    assert metrics["control_agreement", 50].value is None
