"""Cards of entries: one golden file per kind of entry; front matter that the Hub reads; nothing hostile comes through."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from securitynet import catalog
from securitynet.cards.entry import entry_card
from securitynet.cli import main

GOLDEN = Path(__file__).parent / "data" / "cards"
KINDS = {
    "opened": "akamaster/resnet20",
    "backdoored": "ibau/trojan_wm_2_02",
    "released": "pytorchcv/resnet20_cifar10",
    "multi-label": "medmnist/chestmnist/resnet18_28_1",
    "features": "torchvision/vgg16.IMAGENET1K_FEATURES",
    "no-loader": "robustbench/cifar10/Linf/Bai2024MixedNUTS",
    "on-the-hub": "timm/resnet50.a1_in1k",
    "re-hosted": "cadene/se_resnet50/imagenet",
}


def card(id: str) -> str:
    return entry_card(catalog.entry(id), [row for row in catalog.results() if row["entry"] == id])


@pytest.mark.parametrize("kind", KINDS)
def test_golden_cards(kind: str) -> None:
    """Where a card is meant to change: securitynet card ID > tests/data/cards/KIND.md, and read the difference."""
    assert card(KINDS[kind]) == (GOLDEN / f"{kind}.md").read_text(encoding="utf-8")


def test_the_hub_reads_every_front_matter() -> None:
    for entry in catalog.entries()[::25]:
        data = ModelCard(entry_card(entry, [])).data.to_dict()
        assert data["pipeline_tag"] == "image-classification" and "securitynet" in data["tags"]
        if entry.claimed_accuracy is not None:
            assert data["model-index"][0]["results"][0]["metrics"][0]["value"] == entry.claimed_accuracy


def test_what_an_entry_says_stays_text() -> None:
    hostile = replace(
        catalog.entry("akamaster/resnet20"),
        notes="ok\n---\nlicense: other\n---\n<script>alert(1)</script> [x](javascript:alert(1)) | a | b |",
        licence="MIT\ntags: [trusted]",
        claim_source="x: y\n- z",
        flags=("<img src=x onerror=alert(1)>",),
        paper_url="javascript:alert(2)",
    )
    text = entry_card(hostile, [])
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "other" and front["license_name"] == "MIT\ntags: [trusted]" and front["tags"][0] == "image-classification"
    body = text.split("---\n", 2)[2]
    assert (
        "<script" not in body and "<img" not in body and not re.search(r"[^\\]\]\(javascript|<javascript", body) and "\n---\n" not in body
    )


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["card", "akamaster/resnet20"]) == 0
    assert capsys.readouterr().out == card("akamaster/resnet20")
    assert main(["card", "akamaster/resnet20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"entry": "akamaster/resnet20", "card": card("akamaster/resnet20")}
    few = [catalog.entry(id) for id in KINDS.values()]
    monkeypatch.setattr(catalog, "entries", lambda: few)
    monkeypatch.setattr(catalog, "ids", lambda: [entry.id for entry in few])
    assert main(["card", "--all", str(tmp_path)]) == 0 and main(["card", "--all", str(tmp_path)]) == 0
    assert "8 cards written" in (out := capsys.readouterr().out) and "0 cards written" in out
    assert (tmp_path / "akamaster" / "resnet20.md").read_text(encoding="utf-8") == card("akamaster/resnet20")
    assert main(["card", "akamaster/resnet21"]) == 2
