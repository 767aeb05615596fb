"""The architectures of the catalog build as their records say: a sample here, all of them with `catalog check --construct`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from securitynet import catalog
from securitynet.cli import main
from securitynet.maintenance.construct import construct, record, sample, summary

SEED, NUMBER, LARGEST = 1, 200, 60_000_000


def test_a_sample_builds_as_recorded() -> None:
    """Large networks are slow to lay out even without memory, and are left to the command."""
    small = [entry for entry in catalog.entries() if (entry.params or 0) < LARGEST]
    results = list(construct(sample(small, NUMBER, SEED)))
    assert [f"{result.entry}: {result.problem}" for result in results if result.problem] == []
    assert len(results) == NUMBER and len(summary(results)) >= 6


def test_one_of_every_kind_of_network() -> None:
    kinds = {entry.architecture.partition(":")[0]: entry for entry in sample(catalog.entries()) if entry.architecture}
    nets = {entry.architecture: entry for entry in sample(catalog.entries()) if str(entry.architecture).startswith("nets:")}
    assert set(kinds) == {"chain", "fastervit", "nets", "pytorch_ood", "pytorchcv", "timm", "torchvision"}
    smallest = catalog.entry("fastervit/faster_vit_0_224")
    chosen = [smallest, *(entry for kind, entry in kinds.items() if kind != "fastervit"), *nets.values()]
    assert [result.problem for result in construct(chosen)] == [None] * len(chosen)


def test_at_least_2600_records_name_their_network() -> None:
    assert len(catalog.ids()) >= 3300
    chosen = sample(catalog.entries())
    assert len(chosen) >= 2600
    released = {entry.id for entry in catalog.entries() if entry.paper_table}
    assert len(released) == 529 and released <= {entry.id for entry in chosen}
    assert all(entry.params and entry.num_classes for entry in chosen)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"params": 1}, "has 269,722 trainable parameters, the record says 1"),
        ({"num_classes": 11}, "trainable parameters, the record says 269,722"),
        ({"architecture_args": '{"depth":21}'}, "depth must be 6n"),
        ({"architecture": "nets:cifar_resnetx", "architecture_args": None}, "did you mean cifar_resnet"),
        ({"architecture": "timm:resnet181", "architecture_args": None}, "unknown timm architecture 'resnet181'"),
    ],
)
def test_what_does_not_fit_is_said(columns: dict[str, object], words: str) -> None:
    (result,) = construct([replace(catalog.entry("akamaster/resnet20"), **columns)])  # type: ignore[arg-type]
    assert result.problem is not None and words in result.problem


def test_the_sample_is_drawn_by_seed() -> None:
    entries = catalog.entries()
    assert sample(entries, 20, 1) == sample(reversed(entries), 20, 1) != sample(entries, 20, 2)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    record = catalog.entry("akamaster/resnet20").to_record()
    (folder / "akamaster.jsonl").write_text(json.dumps(record) + "\n" + json.dumps(record | {"params": 5}) + "\n", encoding="utf-8")
    assert main(["catalog", "check", "--construct", "--source", "akamaster", "--catalog", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sources"] == {"akamaster": {"built": 1, "problems": 1}}
    assert report["problems"] == ["akamaster/resnet20: has 269,722 trainable parameters, the record says 5"]
    assert main(["catalog", "check", "--construct", "--source", "x", "--catalog", str(tmp_path)]) == 2


def test_several_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securitynet.maintenance.construct.FEWEST", 2)
    chosen = [replace(catalog.entry("akamaster/resnet20"), params=1), *map(catalog.entry, ("akamaster/resnet20", "akamaster/resnet44"))]
    assert list(construct(chosen, 2)) == list(construct(chosen))
    found = record(summary(construct(chosen)), ["x"], 1.26, 2)
    assert found["versions"]["torch"] and found["seconds"] == 1.3 and found["processes"] == 2 and found["date"][:2] == "20"
