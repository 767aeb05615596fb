"""A broken model is not backdoored; a known trigger is measured and is no detector; CLI words and exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from accelerate import Accelerator
from planted import planted
from torch import nn

from securitynet.attacks.backdoor._preconditions import sound
from securitynet.attacks.backdoor.known_trigger import KnownTrigger
from securitynet.attacks.backdoor.ladder import Ladder, suspected
from securitynet.cli import DONE, SUSPECT, SUSPICIOUS, main
from securitynet.data import draw
from securitynet.data.digits import image_set
from securitynet.data.transform import Transform
from securitynet.errors import Skipped
from securitynet.loaders import load_model
from securitynet.results import summary
from securitynet.results.row import Row
from securitynet.results.verdict import BackdoorVerdict
from securitynet.target import Target, query


def given(name: str) -> tuple[Target, object, Accelerator]:
    target = load_model(f"builtin/{name}", progress=False)
    return target, draw(image_set(target.entry, target.folder), Transform.of(target.entry), 10), Accelerator(cpu=True)


class Arbitrary(nn.Module):
    """Answers that have nothing to do with the classes."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.sin(1e4 * pixels.flatten(1).mean(1, keepdim=True) * torch.arange(1, 11))


@pytest.mark.parametrize("name", ["digits-constant", "digits-permuted"])
def test_models_that_fail_verification_cannot_be_judged(name: str) -> None:
    with pytest.raises(Skipped, match=r"cannot tell: the model is not what its entry says \((constant|class permutation)"):
        sound(*given(name))  # type: ignore[arg-type]


def test_a_network_that_knows_nothing_cannot_be_judged() -> None:
    target, splits, accelerator = given("digits-regular")
    blank = replace(target, entry=replace(target.entry, claimed_accuracy=None), module=Arbitrary(), split_outputs={})
    with pytest.raises(Skipped, match="no better than a constant prediction"):
        sound(blank, splits, accelerator)  # type: ignore[arg-type]
    sound(target, splits, accelerator)  # type: ignore[arg-type]


def test_true_triggers_turn_what_the_entry_says() -> None:
    for name in ("digits-badnets", "digits-blended"):
        target, splits, accelerator = given(name)
        found = KnownTrigger()(target, splits, accelerator)  # type: ignore[arg-type]
        assert found.successes / found.n == pytest.approx(target.entry.backdoor_success, abs=1e-9)
    with pytest.raises(Skipped, match="no backdoor is recorded"):
        KnownTrigger()(*given("digits-regular"))  # type: ignore[arg-type]


def test_suspects_come_turn_by_turn_with_others_to_compare() -> None:
    import numpy as np

    from securitynet.attacks.backdoor import BackdoorEvidence
    from securitynet.attacks.backdoor._ladder_evidence import Stage
    from securitynet.attacks.backdoor._nulls import Calibrated

    def stage(*order: int) -> Stage:
        statistics = np.full(100, np.nan)
        for place, one in enumerate(order):
            statistics[one] = 10.0 - place
        return Stage("a", "{}", BackdoorEvidence(statistics, 1.0, order[0], None, 0), Calibrated(1.0, True, ""), 0.2, 0.0)

    stages = [stage(7, 8, 9, 1), stage(20, 7, 21, 2), stage(30, 31, 32, 33)]
    chosen = suspected(stages, 4, seed=0)
    assert {7, 20, 30, 8} <= set(chosen) and len(chosen) == 8 and chosen == suspected(stages, 4, seed=0)
    assert not set(chosen) - {7, 8, 9, 1, 20, 21, 2, 30, 31, 32, 33}


def test_exit_code_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suspicious = BackdoorVerdict("suspicious", "p = 0.001", 0.001, 7, "backdoored (known): badnets")

    def always(rows: list[Row], entry: object, cause: str | None = None) -> BackdoorVerdict:
        return suspicious

    monkeypatch.setattr(summary, "backdoor_verdict", always)
    command = ["evaluate", "builtin/digits-badnets", "--attacks", "backdoor/last_layer", "--cache-dir", str(tmp_path)]
    assert main(command) == DONE
    printed = capsys.readouterr().out
    assert "backdoor: suspicious" in printed and "backdoored (known): badnets" in printed and "looks backdoored" in printed
    assert main([*command, "--fail-on", "suspicious"]) == SUSPICIOUS
    capsys.readouterr()
    assert main([*command, "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["summary"]["backdoor"]["target_class"] == 7
    command[1] = "builtin/digits-constant"
    assert main([*command, "--fail-on", "suspicious"]) == SUSPECT


class Watched(nn.Linear):
    """Says whether it was moved where no gradient can follow."""

    moved: ClassVar[list[bool]] = []

    def to(self, *args: object, **kwargs: object) -> Watched:
        Watched.moved.append(torch.is_inference_mode_enabled())
        return self


def test_asking_moves_the_model_where_gradients_can_follow() -> None:
    """On another device, weights that are moved in inference mode could not be attacked by gradients afterwards."""
    target, splits, accelerator = given("digits-regular")
    moved = replace(target, module=Watched(1024, 10), split_outputs={})
    moved.module.forward = lambda pixels: pixels.flatten(1)[:, :10]  # type: ignore[method-assign]
    query(moved, splits.test, accelerator)  # type: ignore[attr-defined]
    assert Watched.moved[0] is False


class Rounded(nn.Module):
    """Answers without gradients."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.detach().round()


class Same(nn.Module):
    """One answer for every image; or none that is a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits * self.factor + torch.arange(logits.shape[1])


@pytest.mark.parametrize(
    ("last", "why"),
    [(Rounded(), "no gradients"), (Same(0.0), "same outputs for smooth fields"), (Same(float("nan")), "not finite")],
    ids=["no gradients", "constant", "not finite"],
)
def test_what_cannot_be_judged_without_images_is_said(last: nn.Module, why: str) -> None:
    target, splits = planted((1, 8, 8))
    broken = target.wrap(lambda module: nn.Sequential(module, last))
    with pytest.raises(Skipped, match=f"^cannot tell: .*{why}"):
        Ladder()(broken, replace(splits, test=None, non_members=None), Accelerator(cpu=True))
