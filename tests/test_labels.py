"""The names of a model's outputs against the classes of its dataset: the same, in another order, or not to be trusted."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from securitynet import catalog
from securitynet.data.dataset import find, records
from securitynet.data.naming import agreement
from securitynet.errors import LoadError
from securitynet.loaders import load_model
from securitynet.loaders._labels import card_facts, label_names

DIGITS = Path(str(catalog.__file__)).parent / "builtin" / "digits-regular"
CIFAR = find("CIFAR-10")
IMAGENET = find("ImageNet-1k")
assert CIFAR is not None and IMAGENET is not None
NAMES = list(CIFAR.class_names or ())


def shuffled(names: list[str], seed: int = 0) -> tuple[list[str], list[int]]:
    """The names in another order, and the output of each class."""
    order = random.Random(seed).sample(range(len(names)), len(names))
    return [names[place] for place in order], [order.index(place) for place in range(len(names))]


@pytest.mark.parametrize("record", [one for one in records() if one.class_names], ids=lambda one: one.key)
def test_every_dataset_knows_its_own_names_in_any_order(record: Any) -> None:
    names = list(record.class_names)
    assert agreement(names, record).kind == "identity"
    assert agreement([name.upper().replace(" ", "_") for name in names], record).kind == "identity"
    other, outputs = shuffled(names)
    found = agreement(other, record)
    assert (found.kind, list(found.outputs)) == ("permutation", outputs)


def test_imagenet_as_others_write_it() -> None:
    timm = pytest.importorskip("timm.data")
    info = timm.ImageNetInfo("imagenet-1k")
    wordnet, lemmas = info.label_names(), info.label_descriptions()
    first = [name.partition(",")[0] for name in IMAGENET.class_names or ()]
    for names in (wordnet, lemmas, first, [f"{one}_{name}" for one, name in zip(wordnet, first, strict=True)]):
        assert agreement(names, IMAGENET).kind == "identity"
    other, outputs = shuffled(wordnet)
    assert list(agreement(other, IMAGENET).outputs) == outputs
    other, _ = shuffled(lemmas)
    assert "crane, crane cannot be told apart" in (agreement(other, IMAGENET).reason or "")


def test_torchvisions_names_of_imagenet() -> None:
    weights = pytest.importorskip("torchvision.models").ResNet18_Weights.DEFAULT
    found = agreement(weights.meta["categories"], IMAGENET)
    assert found.kind == "identity" and "crane bird" in (found.reason or "")


@pytest.mark.parametrize(
    ("names", "kind", "words"),
    [
        (["plane", "car", *NAMES[2:]], "identity", None),
        ([f"{name}s" for name in NAMES], "identity", None),
        ([f"{place}: {name}" for place, name in enumerate(NAMES)], "identity", None),
        (NAMES[::-1], "permutation", "in another order"),
        ([f"LABEL_{place}" for place in range(10)], "unnamed", "labels are not named"),
        ([f"class{place + 1}" for place in range(10)], "unnamed", "labels are not named"),
        ([str(place) for place in range(10)], "unnamed", "labels are not named"),
        ([], "unnamed", "not named"),
        (["LABEL_1", "LABEL_0", *(f"LABEL_{place}" for place in range(2, 10))], "partial", "numbers in another order"),
        ([*NAMES[:9], "zebra"], "partial", "only 9 of 10 labels .* not zebra, and no label is truck"),
        ([*NAMES[:9], "cat"], "partial", "not cat, cat"),
        (["cat"] * 10, "partial", "only 0 of 10"),
        (NAMES[:9], "other", "has 10 classes, the model 9"),
        ([f"rose {letter}" for letter in "abcdefghij"], "other", "none of the labels"),
    ],
)
def test_names_for_cifar(names: list[str], kind: str, words: str | None) -> None:
    import re

    found = agreement(names, CIFAR)
    assert found.kind == kind and (found.reason is None if words is None else re.search(words, found.reason or ""))


def repo(place: Path, card: str, **config: Any) -> Path:
    """The model of handwritten digits with another card and other label names."""
    shutil.copytree(DIGITS, place)
    stated = json.loads((place / "config.json").read_text())
    for key in ("label_names", "label_descriptions"):
        stated.pop(key, None)
        stated.get("pretrained_cfg", {}).pop(key, None)
    (place / "config.json").write_text(json.dumps({**stated, **config}))
    (place / "README.md").write_text(card)
    return place


def test_a_permutation_is_applied_and_said(tmp_path: Path) -> None:
    import torch

    other, outputs = shuffled([str(digit) for digit in range(10)])
    plain = load_model(repo(tmp_path / "a", "---\ndatasets: [digits]\n---\n", label_names=[str(digit) for digit in range(10)]))
    target = load_model(repo(tmp_path / "b", "---\ndatasets: [digits]\n---\n", label_names=other))
    assert (target.entry.dataset, target.entry.class_map, list(target.entry.class_list or ())) == ("digits", "list", outputs)
    assert "in another order" in (target.entry.notes or "") and plain.entry.class_map == "identity"
    pixels = torch.rand(3, 1, 32, 32)
    assert torch.equal(target.module(pixels), plain.module(pixels)[:, outputs])


def test_a_dataset_that_the_user_names_is_matched_too(tmp_path: Path) -> None:
    other, outputs = shuffled(NAMES)
    place = repo(tmp_path / "a", "# no metadata\n", label_names=other)
    target = load_model(place, entry={"dataset": "cifar10"})
    assert list(target.entry.class_list or ()) == outputs
    assert load_model(place, entry={"dataset": "cifar10", "class_map": "identity"}).entry.class_list is None


def test_a_partial_match_is_refused_unless_the_user_knows_better(tmp_path: Path) -> None:
    place = repo(tmp_path / "a", "---\ndatasets: cifar10\n---\n", label_names=[*NAMES[:9], "zebra"])
    with pytest.raises(LoadError, match="only 9 of 10 labels are classes of CIFAR-10: not zebra, and no label is truck; give class_list"):
        load_model(place)
    assert load_model(place, entry={"dataset": "cifar10", "class_map": "identity"}).entry.dataset == "CIFAR-10"


def test_candidates_are_listed_where_no_dataset_is_named(tmp_path: Path) -> None:
    notes = load_model(repo(tmp_path / "a", "---\nlicense: mit\n---\n", label_names=NAMES)).entry.notes or ""
    assert "no dataset is named; the 10 labels are those of CIFAR-10" in notes
    named = [f"rose {letter}" for letter in "abcdefghij"]
    entry = load_model(repo(tmp_path / "b", "---\ndatasets: [cifar10]\n---\n", label_names=named)).entry
    assert entry.dataset is None
    assert "none of the labels" in (entry.notes or "") and "with 10 classes: CIFAR-10, digits" in (entry.notes or "")


def test_the_dataset_with_these_labels_is_taken_among_several(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("---\ndatasets: [imagenet-1k, {a: b}, 7, mnist, cifar10]\n---\n")
    facts = card_facts(card, NAMES)
    assert facts["dataset"] == "CIFAR-10" and "class_list" not in facts


def test_labels_are_not_named(tmp_path: Path) -> None:
    generic = [f"LABEL_{place}" for place in range(10)]
    entry = load_model(repo(tmp_path / "a", "---\ndatasets: [cifar10]\n---\n", label_names=generic)).entry
    assert (entry.dataset, entry.class_map) == ("CIFAR-10", "identity") and "labels are not named" in (entry.notes or "")


def test_a_background_class_comes_first(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("---\ndatasets: imagenet-1k\n---\n")
    names = list(IMAGENET.class_names or ())
    assert "class_list" not in card_facts(card, ["background", *names])
    other, outputs = shuffled(names)
    assert card_facts(card, ["Background", *other])["class_list"] == [output + 1 for output in outputs]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"id2label": {"1": "b", "0": "a"}}, ["a", "b"]),
        ({"id2label": ["a", "b"]}, ["a", "b"]),
        ({"id2label": {"0": "a", "2": "c"}}, []),
        ({"id2label": {"²": "a"}}, []),
        ({"id2label": {"9" * 5000: "a"}}, []),
        ({"id2label": "a"}, []),
        ({"pretrained_cfg": [1], "label_names": None}, []),
        ({"pretrained_cfg": {"label_names": ["n1", 2]}}, ["n1", "2"]),
    ],
)
def test_label_names(config: dict[str, Any], expected: list[str]) -> None:
    assert label_names(config) == expected


def test_names_are_text() -> None:
    with pytest.raises(LoadError, match="must be text"):
        label_names({"id2label": {"0": {"a": "b"}}})
