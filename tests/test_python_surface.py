"""Python as a person meets it: short representations, one name for a list, wrong calls that say what is right."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import securitynet
from securitynet import defences
from securitynet.cli._tables import result_view
from securitynet.errors import UsageError
from securitynet.metrics.intervals import Estimate
from securitynet.target import Target

MODEL = "builtin/digits-regular"
ATTACKS = ["membership/loss", "membership/entropy"]


@dataclass(frozen=True)
class Found:
    share: float
    queries: int
    family: str = "backdoor"

    def metrics(self) -> list[Estimate]:
        return [Estimate("largest_share", self.share, self.queries)]

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@dataclass(frozen=True)
class Shares:
    images: int = 16

    def __call__(self, target: Target, splits: Any, accelerator: Any) -> Found:
        pixels = torch.rand(self.images, *(target.entry.input_size or ()), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            classes = target.module(pixels).argmax(1)
        return Found(classes.bincount().max().item() / self.images, self.images)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> securitynet.Result:
    return securitynet.evaluate(MODEL, attacks=[*ATTACKS, Shares()], samples=60, cache_dir=tmp_path_factory.mktemp("cache"))


def test_representations_are_short_and_escaped(result: securitynet.Result) -> None:
    target = securitynet.load_model(MODEL)
    for thing in (result, target, result.entry):
        assert len(repr(thing)) < 300 and MODEL in repr(thing) and MODEL in thing._repr_html_()
    hostile = securitynet.Entry(id="x/<script>alert(1)</script>", dataset="<b>")
    assert "<script>" not in hostile._repr_html_() and "&lt;b&gt;" in hostile._repr_html_()
    assert "membership/loss" in result._repr_html_() and "auc" in result._repr_html_()


def test_figures(result: securitynet.Result, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    figure = result.plot_roc(tmp_path / "roc.svg", attacks="membership/loss")
    assert (tmp_path / "roc.svg").stat().st_size > 1000 and len(figure.axes) >= 1
    assert result.plot_roc() is not figure
    with pytest.raises(UsageError, match="no stealing attack"):
        result.plot_curve()


def test_a_detector_of_others_prints_its_numbers(result: securitynet.Result) -> None:
    from rich.console import Console

    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result_view(result, 120))
    line = next(line for line in console.export_text().splitlines() if "Shares" in line)
    assert "largest share" in line and "None" not in line


def test_defences_of_other_packages_and_one_name_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point = EntryPoint("house/label", "securitynet.defences:label_only", defences.GROUP)
    monkeypatch.setattr(defences, "entry_points", lambda group: [point] if group == defences.GROUP else [])
    assert "house/label" in {one.name for one in defences.described_defences()}
    assert defences.named("house/label") is defences.label_only
    found = securitynet.evaluate(MODEL, attacks="membership/loss", defences="top-k:3", samples=60, cache_dir=tmp_path)
    assert found.entry.id == f"{MODEL}+top-k:3"


def test_names_that_are_misspelt(result: securitynet.Result) -> None:
    with pytest.raises(UsageError, match="membership/loss"):
        result.value("membership/los", "auc")
    with pytest.raises(UsageError, match="auc"):
        result.value("membership/loss", "aucc")
    assert result.value("membership/loss", "auc") is not None and result.value("membership/lira", "auc") is None
    with pytest.raises(AttributeError, match="did you mean 'evaluate'"):
        _ = securitynet.evalute  # type: ignore[attr-defined]


WRONG: list[Any] = [
    lambda result: securitynet.evaluate(5),
    lambda result: securitynet.evaluate(MODEL, attacks=5),
    lambda result: securitynet.evaluate(MODEL, attacks=""),
    lambda result: securitynet.evaluate(MODEL, attacks=[]),
    lambda result: securitynet.evaluate(MODEL, attack="membership/loss"),
    lambda result: securitynet.evaluate(MODEL, defences=5),
    lambda result: securitynet.evaluate(MODEL, defences="top-q"),
    lambda result: securitynet.evaluate(MODEL, defences=lambda target: 5),
    lambda result: securitynet.evaluate(MODEL, seed=-1),
    lambda result: securitynet.evaluate(MODEL, seed="0"),
    lambda result: securitynet.evaluate(MODEL, samples=0),
    lambda result: securitynet.evaluate(MODEL, overwrite="sometimes"),
    lambda result: securitynet.evaluate(MODEL, overwrite=True),
    lambda result: securitynet.evaluate(MODEL, offline="no"),
    lambda result: securitynet.evaluate(),
    lambda result: securitynet.load_model(5),
    lambda result: securitynet.load_model("builtin/nothing"),
    lambda result: securitynet.list_models(5),
    lambda result: securitynet.list_models(dataset="cifar11"),
    lambda result: securitynet.load_catalog("model"),
    lambda result: securitynet.load_results(metric=5),
    lambda result: result.value(5, "auc"),
    lambda result: result.value("membership/loss"),
    lambda result: result.value("membership/loss", "auc", budget="all"),
    lambda result: result.scores(5),
    lambda result: result.roc("membership/none"),
    lambda result: result.per_class(None),
    lambda result: result.save(5),
    lambda result: result.plot_roc("roc.txt"),
    lambda result: result.plot_roc(attacks=[5]),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_calls_are_usage_errors(result: securitynet.Result, number: int) -> None:
    with pytest.raises(UsageError) as caught:
        WRONG[number](result)
    assert len(str(caught.value)) > 15 and "\n" not in str(caught.value)
