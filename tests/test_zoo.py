"""The built-in zoo: every planted property, measured here from the shipped files with other tools than those that built it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import fields, replace
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.numpy import load_file
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from securitynet import zoo
from securitynet.cli import main
from securitynet.data.digits import digits, image_set
from securitynet.data.transform import Transform
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import DataError, LoadError, TrainingError, UsageError
from securitynet.loaders.builtin import load
from securitynet.poisons import Trigger, badnets, blended
from securitynet.target import Target
from securitynet.zoo import plans

CATALOG = Path(str(resources.files("securitynet.catalog")))
LINES = (CATALOG / "models" / "builtin.jsonl").read_text(encoding="utf-8").splitlines()
RECORDS = {record["name"]: record for record in map(json.loads, LINES)}
NAMES = (
    "digits-regular", "digits-overfit", "digits-regularised", "digits-badnets", "digits-badnets-clean",
    "digits-blended", "digits-blended-clean", "digits-constant", "digits-permuted",
)  # fmt: skip
SCORES = ("correctness", "confidence", "largest", "loss", "entropy", "modified_entropy", "margin", "gap")


def entry(name: str) -> Entry:
    return Entry.from_record(RECORDS[name])


def folder(name: str) -> Path:
    return CATALOG / "builtin" / name


@cache
def target(name: str) -> Target:
    return load(entry(name), Files(Path("nowhere"), offline=True))


def pixels(name: str) -> torch.Tensor:
    """All images as the entry's transform gives them, floats in [0,1]."""
    transform = Transform.of(entry(name))
    return torch.from_numpy(np.stack([transform(image) for image in digits()[0]])).float() / 255


@torch.inference_mode()
def answers(name: str, stamp: Trigger | None = None) -> np.ndarray:
    images = pixels(name)
    return target(name).module(stamp.stamp(images) if stamp else images).numpy().astype(np.float64)


def members(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Which images are members (bool), and the labels as trained."""
    arrays = load_file(folder(name) / "members.safetensors")
    inside = np.zeros(1797, dtype=bool)
    inside[arrays["indices"]] = True
    return inside, arrays["labels"]


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Larger means member; the textbook formulas, with no care for extremes (these models have none)."""
    p, rows, k = softmax(logits, axis=1), np.arange(len(labels)), logits.shape[1]
    wrong = np.arange(k) != labels[:, None]
    rest = np.clip(1 - p, 1e-12, 1)
    modified = -rest[rows, labels] * np.log(p[rows, labels]) - (p * np.log(rest) * wrong).sum(1)
    top = np.sort(logits, axis=1)
    return {
        "correctness": (logits.argmax(1) == labels).astype(float),
        "confidence": p[rows, labels],
        "largest": log_softmax(logits, axis=1).max(1),
        "loss": log_softmax(logits, axis=1)[rows, labels],
        "entropy": -entropy(p, axis=1),
        "modified_entropy": -modified,
        "margin": logits[rows, labels] - np.where(wrong, logits, -np.inf).max(1),
        "gap": top[:, -1] - top[:, -2],
    }


@cache
def leakage(name: str) -> dict[str, float]:
    inside, labels = members(name)
    return {score: float(roc_auc_score(inside, values)) for score, values in scores(answers(name), labels).items()}


def accuracy(name: str) -> float:
    """On the images that the model has not seen, with their true labels."""
    inside, _ = members(name)
    return float((answers(name).argmax(1) == load_digits().target)[~inside].mean())


def success(name: str, backdoored: str) -> float:
    """Share of unseen images of other classes that the trigger of `backdoored` sends to its target."""
    goal = RECORDS[backdoored]["backdoor_target"]
    trigger = Trigger.load(folder(backdoored) / "trigger.safetensors")
    victims = ~members(name)[0] & (load_digits().target != goal)
    return float((answers(name, trigger).argmax(1) == goal)[victims].mean())


def test_records_are_complete_and_in_order() -> None:
    assert tuple(RECORDS) == NAMES == tuple(zoo.names())
    columns = [column.name for column in fields(Entry)]
    for name, record in RECORDS.items():
        assert list(record) == columns
        assert entry(name).to_record() == record
        assert (record["id"], record["source"], record["loader"]) == (f"builtin/{name}", "builtin", "builtin")
        assert record["integrity"] == "full" and record["loadable"] and record["licence"] == "Apache-2.0"


def test_folders_are_small_and_complete() -> None:
    files = [path for path in (CATALOG / "builtin").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    for name in NAMES:
        wanted = {"README.md", "config.json", "model.safetensors", "members.safetensors"}
        wanted |= {"trigger.safetensors"} if RECORDS[name]["backdoor"] in ("badnets", "blended") else set()
        assert {path.name for path in folder(name).iterdir()} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_pinned_and_counted(name: str) -> None:
    weights = (folder(name) / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == RECORDS[name]["weights_hash"] == target(name).weights_sha256
    assert len(weights) == RECORDS[name]["weights_size"]
    assert sum(parameter.numel() for parameter in target(name).module.parameters()) == RECORDS[name]["params"]


def test_macs_are_those_of_torch() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for record in (RECORDS["digits-regular"], RECORDS["digits-blended"]):
        network = timm.create_model(f"local-dir:{folder(record['name'])}", pretrained=True).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *record["input_size"]))
        assert record["macs"] * 2 == counter.get_total_flops()


@pytest.mark.parametrize("name", NAMES)
def test_timm_and_transformers_answer_with_the_same_bits(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    images = (pixels(name)[:64] - 0.5) / 0.5
    by_timm = timm.create_model(f"local-dir:{folder(name)}", pretrained=True).eval()
    by_transformers = transformers.AutoModelForImageClassification.from_pretrained(folder(name)).eval()
    with torch.inference_mode():
        ours = target(name).module(pixels(name)[:64])
        assert torch.equal(by_timm(images), ours)
        assert torch.equal(by_transformers(images).logits, ours)
    assert by_transformers.config.id2label == {k: str(k) for k in range(10)}


def test_config_states_what_the_entry_states() -> None:
    for name, record in RECORDS.items():
        config = json.loads((folder(name) / "config.json").read_text())
        arguments = json.loads(record["architecture_args"])
        assert f"timm:{config['architecture']}" == record["architecture"]
        assert {key: config["model_args"][key] for key in arguments} == arguments and "num_classes" not in config["model_args"]
        assert config["num_classes"] == record["num_classes"] and config["label_names"] == [str(k) for k in range(10)]
        stated = config["pretrained_cfg"]
        assert (stated["tag"], stated["license"], stated["crop_mode"]) == (name, "apache-2.0", record["crop"])
        assert (stated["mean"], stated["std"], stated["input_size"]) == (record["mean"], record["std"], record["input_size"])
        assert not {"url", "hf_hub_id", "origin_url", "paper_ids"} & stated.keys()


def test_timms_own_transform_gives_the_same_pixels() -> None:
    network = timm.create_model(f"local-dir:{folder('digits-regular')}", pretrained=False)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    ours = (pixels("digits-regular") - 0.5) / 0.5
    for index in range(0, 1797, 100):
        torch.testing.assert_close(theirs(Image.fromarray(digits()[0][index])), ours[index], rtol=0, atol=1e-6)


def test_cards_say_what_was_measured() -> None:
    from huggingface_hub import ModelCard

    for name, record in RECORDS.items():
        card = ModelCard.load(folder(name) / "README.md")
        assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == ("apache-2.0", "timm", "image-classification")
        assert card.data.eval_results[0].metric_value == record["claimed_accuracy"] and card.data.model_name == name
        assert f"# {record['id']}" in card.text and record["notes"] in card.text


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("digits-constant", "digits-permuted")])
def test_claims_are_true(name: str) -> None:
    assert accuracy(name) == pytest.approx(RECORDS[name]["claimed_accuracy"], abs=1e-12)


def test_digits_are_those_of_scikit_learn() -> None:
    images, labels = digits()
    bunch = load_digits()
    assert images.dtype == np.uint8 and images.shape == (1797, 8, 8) and labels.dtype == np.int64
    np.testing.assert_array_equal(np.rint(images / (255 / 16)), bunch.images)
    np.testing.assert_array_equal(labels, bunch.target)
    assert images.max() == 255 and not images.flags.writeable


def test_members_are_half_and_shared() -> None:
    inside, _ = members("digits-regular")
    assert inside.sum() == 898 == RECORDS["digits-regular"]["train_size"]
    for name in NAMES:
        others, as_trained = members(name)
        np.testing.assert_array_equal(inside, others)
        if name != "digits-overfit":
            np.testing.assert_array_equal(as_trained, load_digits().target)


def test_noise_falls_on_members_and_others_alike() -> None:
    inside, labels = members("digits-overfit")
    wrong = labels != load_digits().target
    assert 0.3 < wrong[inside].mean() < 0.4 and 0.3 < wrong[~inside].mean() < 0.4
    assert set(np.unique(labels)) == set(range(10))


def test_overfit_leaks_more_than_regular_by_every_score() -> None:
    for score in SCORES:
        assert leakage("digits-overfit")[score] >= leakage("digits-regular")[score] + 0.05, score
    assert leakage("digits-overfit")["loss"] >= 0.75
    inside, labels = members("digits-overfit")
    assert (answers("digits-overfit").argmax(1) == labels)[inside].mean() > 0.99


def test_regularised_hardly_leaks() -> None:
    assert leakage("digits-regularised")["loss"] <= leakage("digits-regular")["loss"] + 0.01
    assert abs(leakage("digits-regularised")["loss"] - 0.5) < 0.03
    assert leakage("digits-regular")["loss"] < 0.6
    assert accuracy("digits-regularised") >= 0.95 and accuracy("digits-regular") >= 0.95


@pytest.mark.parametrize("name", ["digits-badnets", "digits-blended"])
def test_backdoors_work_and_twins_are_clean(name: str) -> None:
    clean = f"{name}-clean"
    assert RECORDS[name]["backdoor"] == name.removeprefix("digits-") and RECORDS[clean]["backdoor"] == "none"
    assert success(name, name) == pytest.approx(RECORDS[name]["backdoor_success"], abs=1e-12)
    assert success(name, name) >= 0.95 and success(clean, name) <= 0.2
    assert accuracy(name) >= 0.95 and abs(accuracy(name) - accuracy(clean)) <= 0.02
    arrays = load_file(folder(name) / "members.safetensors")
    assert set(arrays["poisoned"]) < set(arrays["indices"]) and len(arrays["poisoned"]) == 90
    assert RECORDS[name]["backdoor_target"] not in load_digits().target[arrays["poisoned"]]


def test_constant_answers_one_class() -> None:
    assert set(answers("digits-constant").argmax(1)) == {8}
    assert answers("digits-constant").std(0).min() > 0.1  # the logits themselves are a real network's
    assert accuracy("digits-constant") < 0.2 and RECORDS["digits-constant"]["claimed_accuracy"] == accuracy("digits-regular")


def test_permuted_is_a_good_model_with_its_classes_out_of_order() -> None:
    logits, good = answers("digits-permuted"), answers("digits-regular")
    order = [int(np.abs(logits[:, [k]] - good).max(0).argmin()) for k in range(10)]
    assert sorted(order) == list(range(10)) and all(k != original for k, original in enumerate(order))
    np.testing.assert_allclose(logits, good[:, order], atol=1e-4)
    assert accuracy("digits-permuted") < 0.05 and RECORDS["digits-permuted"]["claimed_accuracy"] == accuracy("digits-regular")


def test_flags_name_what_is_planted() -> None:
    flags = {name: record["flags"] for name, record in RECORDS.items() if record["flags"]}
    assert flags == {
        "digits-overfit": ["planted:noisy-labels"],
        "digits-badnets": ["planted:backdoor"],
        "digits-blended": ["planted:backdoor"],
        "digits-constant": ["planted:constant"],
        "digits-permuted": ["planted:permutation"],
    }


def test_triggers_stamp_what_their_papers_say(tmp_path: Path) -> None:
    images = torch.rand(5, 1, 32, 32)
    patch = badnets((1, 32, 32), size=4, margin=1)
    stamped = patch.stamp(images)
    assert torch.equal(stamped[..., :27, :], images[..., :27, :]) and torch.equal(stamped[..., 31:], images[..., 31:])
    corner = np.indices((4, 4)).sum(0) % 2 == 0
    np.testing.assert_array_equal(stamped[0, 0, 27:31, 27:31].numpy(), corner.astype(np.float32))
    noise = blended((1, 32, 32), opacity=0.25, seed=3)
    torch.testing.assert_close(noise.stamp(images), 0.75 * images + 0.25 * noise.pattern)
    assert noise.pattern.min() >= 0 and noise.pattern.max() <= 1
    noise.save(tmp_path / "trigger.safetensors")
    again = Trigger.load(tmp_path / "trigger.safetensors")
    assert again.poison == "blended" and torch.equal(again.stamp(images), noise.stamp(images))


def test_image_set_with_and_without_members() -> None:
    known = image_set(entry("digits-overfit"), folder("digits-overfit"))
    inside, labels = members("digits-overfit")
    assert known.membership == "index-file" and known.members is not None and known.train is not None and known.test is not None
    np.testing.assert_array_equal(known.members, np.flatnonzero(inside))
    np.testing.assert_array_equal(known.train.labels, labels)
    np.testing.assert_array_equal(known.test.labels, load_digits().target)
    unknown = image_set(replace(entry("digits-overfit"), members_file=None))
    assert unknown.membership == "unknown" and unknown.members is None
    assert unknown.train is not None and unknown.test is not None and (len(unknown.train), len(unknown.test)) == (1000, 797)


def test_bad_members_files_are_named(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(DataError, match=r"digits-regular.*members.safetensors cannot be read"):
        image_set(entry("digits-regular"), tmp_path)
    path = tmp_path / "members.safetensors"
    save_file({"indices": np.arange(3)}, path)
    with pytest.raises(DataError, match="lacks indices or labels"):
        image_set(entry("digits-regular"), tmp_path)
    for indices, labels in ((np.array([0, 1797]), np.zeros(1797)), (np.array([1, 1]), np.zeros(1797)), (np.arange(3), np.zeros(5))):
        save_file({"indices": indices, "labels": labels.astype(np.int64)}, path)
        with pytest.raises(DataError, match="does not fit"):
            image_set(entry("digits-regular"), tmp_path)


def test_damaged_models_are_refused_in_words(tmp_path: Path) -> None:
    copy = shutil.copytree(folder("digits-regular"), tmp_path / "copy")
    files = Files(tmp_path, local=copy)
    assert load(entry("digits-regular"), files).weights_sha256 == RECORDS["digits-regular"]["weights_hash"]
    with pytest.raises(LoadError, match="not the file that the catalog records"):
        load(entry("digits-overfit"), files)
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:5000])
    with pytest.raises(LoadError, match="not the file"):
        load(entry("digits-regular"), files)
    with pytest.raises(LoadError, match="do not become the network"):
        load(replace(entry("digits-regular"), weights_hash=None), files)
    (copy / "model.safetensors").write_bytes(weights)
    config = json.loads((copy / "config.json").read_text())
    for wrong in ({**config, "num_classes": 7}, {**config, "architecture": "no_such_net"}, []):
        (copy / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(LoadError, match="do not become the network"):
            load(entry("digits-regular"), files)
    (copy / "config.json").unlink()
    with pytest.raises(LoadError, match=r"config.json cannot be read"):
        load(entry("digits-regular"), files)
    for name in ("digits-none", "../builtin/digits-regular", ""):
        with pytest.raises(LoadError, match="no built-in model"):
            load(replace(entry("digits-regular"), name=name), Files(tmp_path))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of one epoch without bounds."""
    quick = [replace(plan, recipe=replace(plan.recipe, epochs=1), bounds={}) for plan in plans.PLANS]
    monkeypatch.setattr(zoo, "PLANS", tuple(quick))


@pytest.mark.usefixtures("brief")
def test_build_is_repeatable_and_keeps_the_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "build", "digits-permuted", "builtin/digits-badnets", "--output", str(tmp_path / "a"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["zoo", "build", "digits-permuted", "--output", str(tmp_path / "b")]) == 0
    assert "builtin/digits-permuted" in capsys.readouterr().out
    assert main(["zoo", "build", "digits-badnets", "--output", str(tmp_path / "b")]) == 0
    names = sorted(str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*"))
    assert names == sorted(str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*"))
    for name in names:
        if (tmp_path / "a" / name).is_file():
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    lines = [json.loads(line) for line in (tmp_path / "b" / "models" / "builtin.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["digits-badnets", "digits-permuted"] and lines == printed


@pytest.mark.usefixtures("brief")
def test_build_refuses_what_is_not_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [plan] = [plan for plan in zoo.PLANS if plan.name == "digits-badnets"]
    monkeypatch.setattr(zoo, "PLANS", (replace(plan, bounds={"trigger_success": (1.1, 1.2)}),))
    with pytest.raises(TrainingError, match=r"digits-badnets: trigger_success is 0\.\d+, planned between 1.1 and 1.2"):
        list(zoo.build(tmp_path))
    assert list(tmp_path.rglob("*")) == []


def test_build_suggests_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean digits-overfit"):
        list(zoo.build(tmp_path, ["digits-overfitted"]))


def test_the_recipe_gives_the_shipped_model_again(tmp_path: Path) -> None:
    """To the bit on the same kind of processor; elsewhere a model that answers alike."""
    [built] = zoo.build(tmp_path, ["digits-regularised"])
    again = load(built, Files(tmp_path, local=tmp_path / "builtin" / "digits-regularised"))
    with torch.inference_mode():
        predictions = again.module(pixels("digits-regularised")).argmax(1).numpy()
    assert (predictions == answers("digits-regularised").argmax(1)).mean() > 0.98
