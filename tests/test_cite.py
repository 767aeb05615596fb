"""securitynet cite: BibTeX of models and attacks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from securitynet import catalog
from securitynet.attacks.resolve import names
from securitynet.citations import cite, of_attack, of_entry
from securitynet.cli import main


def test_a_model_is_cited_with_its_paper_and_its_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", "akamaster/resnet20"]) == 0
    text, entry = capsys.readouterr().out, catalog.entry("akamaster/resnet20")
    assert f"sha256 {entry.weights_hash}" in text and str(entry.revision) in text
    assert "@misc{akamaster/resnet20:weights," in text and "@software{securitynet," in text and "eprint = {2310.12665}" in text


def test_weights_without_a_pin_say_it_and_texts_are_escaped() -> None:
    entry = catalog.entry("timm/resnet50.a1_in1k")
    entry = replace(entry, paper_title="50 % of {A_B} & \\input{x}", venue="CVPR", year=2020, revision=None, integrity="none")
    paper, weights = of_entry(entry)
    assert "title = {{50 \\% of A\\_B \\& inputx}}" in paper and paper.startswith("@inproceedings{") and "booktitle = {CVPR}" in paper
    assert "not pinned" in weights


@pytest.mark.parametrize("attack", names())
def test_every_entry_of_every_attack_is_whole(attack: str) -> None:
    for text in of_attack(attack):
        assert re.fullmatch(r"@\w+\{[\w.:-]+,\n(  \w+ = \{.+\},?\n)+\}\n", text) and text.count("{") == text.count("}")


@pytest.mark.parametrize(
    ("attack", "eprint"),
    [("lira", "2112.03570"), ("backdoor/mm_bd", "2205.06900"), ("knockoff", "1812.02766"), ("membership/tail", "2510.19773")],
)
def test_an_attack_is_cited_with_the_paper_that_its_module_names(attack: str, eprint: str) -> None:
    assert f"eprint = {{{eprint}}}" in cite(attack)


def test_neither_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", "nothing/at-all"]) == 2
    assert "unknown model" in capsys.readouterr().err
