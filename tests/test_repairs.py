"""After a verdict: repairs and what they are judged by, success by source class, nulls of one's own, disclosure before a push."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from planted import planted
from test_backdoor_verdict import CONTEXT, rows
from torch import Tensor, nn

from securitynet.attacks.backdoor import Recovered
from securitynet.attacks.backdoor._calibration import Scored, nulled
from securitynet.attacks.backdoor._covariates import kind_of
from securitynet.attacks.backdoor._defended import Defence, stamped
from securitynet.attacks.backdoor._kind import Covariates, Kind
from securitynet.attacks.backdoor._nulls import calibrate, parse
from securitynet.attacks.backdoor._repairs import Images, accuracy, activations, answers, fine_pruning, unlearning
from securitynet.attacks.backdoor._sources import Source, by_source
from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.cli import DONE, main
from securitynet.errors import DataError, Skipped, UsageError
from securitynet.poisons import Trigger
from securitynet.results.verdict import accused, disclosed
from securitynet.target import Target

CPU = Accelerator(cpu=True)


class Two(nn.Module):
    """Class 1 for bright images, by one channel; class 0 for a bright corner, by another; a third channel does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(1, 3, 1), nn.Linear(3, 2)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1, 1))
            self.features.bias.copy_(torch.tensor([0.0, -0.9, 0.0]))
            self.head.weight.copy_(torch.tensor([[0.0, 1600.0, 0.0], [10.0, 0.0, 0.0]]))
            self.head.bias.copy_(torch.tensor([4.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).relu().mean((2, 3)))


def corner() -> Recovered:
    mask = torch.zeros(1, 8, 8)
    mask[:, 6:, 6:] = 1
    return Recovered(0, mask, torch.ones(1, 8, 8), 20, 20)


def images() -> Images:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 2
    level = torch.where(labels == 1, 0.7, 0.1).view(-1, 1, 1, 1)
    return Images(level + 0.1 * torch.rand(80, 1, 8, 8, generator=generator), labels)


def turned(network: nn.Module, clean: Images) -> float:
    bright = clean.pixels[clean.labels == 1]
    return float((answers(network, stamped(corner(), bright)) == 0).float().mean())


def test_pruning_takes_the_channels_that_clean_images_do_not_use() -> None:
    network, clean = Two().eval(), images()
    assert accuracy(network, clean) == 1 and turned(network, clean) == 1, "the planted property"
    assert activations(network, network.features, clean).argsort().tolist()[-1] == 0
    repaired = fine_pruning(network, clean, CPU, epochs=1)
    assert accuracy(repaired, clean) >= 0.95 and turned(repaired, clean) == 0
    assert turned(network, clean) == 1, "the model itself is not changed"
    with pytest.raises(Skipped, match="the network has none"):
        fine_pruning(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), clean, CPU)


def test_unlearning_takes_the_trigger_that_was_found() -> None:
    network, clean = Two().eval(), images()
    repaired = unlearning(network, clean, CPU, partial(stamped, corner()), epochs=150)
    assert accuracy(repaired, clean) >= 0.95 and turned(repaired, clean) < 0.2 and turned(network, clean) == 1


def test_a_repair_is_judged_on_images_that_it_did_not_see() -> None:
    target, splits = planted((3, 8, 8))
    defence = Defence.of(target, splits, CPU)
    assert len(defence.clean.labels) == len(defence.judges.labels) == 40 and defence.true is None
    seen = {one.numpy().tobytes() for one in defence.clean.pixels}
    assert not seen & {one.numpy().tobytes() for one in defence.judges.pixels}
    before = defence.none()
    assert before.found is not None and before.found.value is not None and before.found.value > 0.8 and before.true is None
    assert before.record["inversion_anew"] == {
        "class": 4,
        "share": before.again.share,
        "successes": before.again.successes,
        "n": before.again.n,
    }
    with pytest.raises(Skipped, match="the network has none"):
        defence.repaired("fine-pruning")
    with pytest.raises(Skipped, match="40 clean images"):
        Defence.of(target, replace(splits, test=None, non_members=None), CPU)


def test_defend_prints_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["defend", "builtin/digits-badnets", "--json", "--cache-dir", str(tmp_path)]
    assert main(command) == DONE
    (found,) = json.loads(capsys.readouterr().out)
    none, pruned, unlearnt = found["judged"]
    assert [one["repair"] for one in found["judged"]] == ["none", "fine-pruning", "unlearning"] and not found["skipped"]
    assert none["true_trigger_success"]["value"] > 0.95 and none["inversion_anew"]["class"] == 7
    assert unlearnt["found_trigger_success"]["value"] < 0.1 and unlearnt["accuracy"]["value"] > 0.95 and pruned["accuracy"]["value"] > 0.9


def test_success_by_source_class() -> None:
    """A patch that turns one class alone: 1 in 5 in the mean, all of its source."""
    target, splits = planted((3, 8, 8), 6)
    assert splits.test is not None
    white = Trigger("patch", torch.zeros(1, 8, 8), torch.ones(3, 8, 8))
    white.mask[:, 6:, 6:] = 1
    found = by_source(target, splits.test, white, 4)
    assert {one.source for one in found} == {0, 1, 2, 3, 5} and all(one.n and one.turned / one.n > 0.9 for one in found)
    nothing = replace(white, mask=torch.zeros(1, 8, 8))
    assert [one.turned for one in by_source(target, splits.test, nothing, 4)] == [0] * 5, "those that had the class before are left out"
    assert str(Source(3, 4, 5)) == "3: 4/5"


NETWORK = Covariates(accuracy=0.9, scale=10.0, boundary=0.02, depth=5, zeros=0.0, distinct=4000, input_size=(1, 28, 28))


def scored(number: int, score: float) -> Scored:
    facts = replace(NETWORK, scale=10.0 + number / 10)
    return Scored(f"model-{number}", Kind("MNIST", 10, facts), {("backdoor/strip", "{}"): score}, 0.1 + number / 100)


def test_nulls_of_ones_own_leave_out_the_few_that_are_not_clean() -> None:
    rng = np.random.default_rng(0)
    clean = [scored(number, float(score)) for number, score in enumerate(rng.normal(size=30))]
    found = nulled([*clean, scored(30, 40.0), scored(31, 30.0)], "a sweep")
    assert set(found.aside) == {"model-30", "model-31"} and len(found.kept) == 30 and found.enough
    nulls = parse(found.lines.splitlines())
    assert nulls.populations[0].remark == "a sweep" and min(nulls.populations[0].masks) == pytest.approx(0.1)
    own = calibrate("backdoor/strip", "{}", 0.0, Kind("mnist", 10, NETWORK), nulls)
    assert own.calibrated and own.words == "30 clean models on MNIST, 10 classes"
    few = nulled(clean[:4])
    assert not few.enough and few.aside == ()


def test_clean_sweeps_are_seldom_touched() -> None:
    rng = np.random.default_rng(1)
    aside = [len(nulled([scored(number, float(score)) for number, score in enumerate(rng.exponential(size=20))]).aside) for _ in range(200)]
    assert np.mean(np.array(aside) > 0) <= 0.05


def test_the_ladder_takes_nulls_of_ones_own(tmp_path: Path) -> None:
    target, splits = planted((1, 8, 8), 6)
    none = replace(splits, test=None, non_members=None)
    file = tmp_path / "own.jsonl"
    file.write_text(nulled([scored(number, float(number)) for number in range(12)]).lines, encoding="utf-8")
    found = Ladder(nulls=str(file))(target, none, CPU)
    assert {stage.name for stage in found.stages if stage.counted} <= {"backdoor/strip"}
    with pytest.raises(DataError, match="no file of clean models' scores"):
        Ladder(nulls=str(tmp_path / "missing.jsonl"))(target, none, CPU)


@pytest.fixture
def cheap(tmp_path: Path) -> tuple[list[str], Path]:
    """A sweep of two models by the cheapest route, and the file it writes."""
    output = tmp_path / "own.jsonl"
    models = ["builtin/digits-regular", "builtin/digits-overfit"]
    command = ["backdoor", "calibrate", "--dataset", "digits", "--budget", "1", "--samples", "60", "--cache-dir", str(tmp_path)]
    return [*command, "--output", str(output), "--models", *models], output


def test_a_sweep_of_calibration_goes_on_where_it_ended(cheap: tuple[list[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    command, output = cheap
    journal = output.with_name("own.jsonl.scores")
    assert main(command[:-1]) == DONE
    measured = journal.read_text(encoding="utf-8")
    assert len(measured.splitlines()) == 1
    journal.write_text(measured + measured[:50], encoding="utf-8")  # killed while it wrote a line
    judged: list[str] = []
    run = Ladder.__call__

    def counted(self: Ladder, target: Target, *more: Any) -> Any:
        judged.append(target.entry.id)
        return run(self, target, *more)

    monkeypatch.setattr(Ladder, "__call__", counted)
    assert main(command) == DONE and judged == ["builtin/digits-overfit"]
    assert main(command) == DONE and judged == ["builtin/digits-overfit"]
    detectors = {json.loads(line).get("detector") for line in output.read_text(encoding="utf-8").splitlines()}
    assert detectors == {"backdoor/last_layer", "backdoor/feature_shift", None}
    other = [*command[: command.index("--budget")], "--budget", "2", *command[command.index("--budget") + 2 :]]
    assert main(other) == DONE and len(judged) == 3, "another budget is another sweep"


def test_a_cheap_route_that_was_calibrated_is(tmp_path: Path) -> None:
    """Nulls of the economical route's own settings: the p-values are calibrated; with those of the full route they are not."""
    target, splits = planted((1, 8, 8), 6)
    assert splits.test is not None
    with torch.no_grad():
        labels = target.module(splits.test.pixels(np.arange(80))).argmax(1).numpy()
    splits = replace(splits, dataset="digits", test=replace(splits.test, labels=labels))
    without = Ladder(budget=20_000)(target, splits, CPU)
    assert not without.judgement.calibrated and all("economical route" in one.found.words for one in without.stages if one.counted)
    known = Target(replace(target.entry, dataset="digits"), target.module, target.weights_sha256)
    facts = kind_of(known, splits, CPU)
    own = facts.covariates
    assert own is not None
    near = [replace(own, scale=own.scale * (1 + one / 50), boundary=own.boundary * (1 + one / 50)) for one in range(-15, 15)]
    models = [
        Scored(str(one), replace(facts, covariates=like), {(stage.name, stage.params): one / 10 for stage in without.stages}, 0.1)
        for one, like in enumerate(near)
    ]
    file = tmp_path / "own.jsonl"
    file.write_text(nulled(models).lines, encoding="utf-8")
    found = Ladder(budget=20_000, nulls=str(file))(known, splits, CPU)
    assert found.judgement.calibrated and all(one.found.calibrated for one in found.stages)
    assert [one.evidence.score for one in found.stages] == [one.evidence.score for one in without.stages]


def test_nobody_is_called_backdoored_in_public_before_being_told() -> None:
    named = [replace(row, entry="akamaster/resnet20") for row in rows(0.0001)]
    assert accused(named) == ("akamaster/resnet20",)
    with pytest.raises(UsageError, match=r"akamaster/resnet20. Tell them first.*--disclosed"):
        disclosed(named, confirmed=False)
    disclosed(named, confirmed=True)
    for harmless in ("ibau/badnets_8_02", "local/own", "builtin/digits-badnets"):
        disclosed([replace(row, entry=harmless) for row in named], confirmed=False)
    disclosed([replace(row, entry="akamaster/resnet20") for row in rows(0.5)], confirmed=False)
    assert CONTEXT.entry == "a/b"
