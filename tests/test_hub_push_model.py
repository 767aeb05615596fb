"""Models on the Hub: every reader gets the same logits, cards keep what people wrote, results are of these weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub import Hub
from PIL import Image

from securitynet import evaluate
from securitynet.cards import BEGIN, END
from securitynet.data.pixels import pictures
from securitynet.data.transform import Transform
from securitynet.errors import HubError, LoadError, UsageError
from securitynet.hub import push_model
from securitynet.loaders import load_model
from securitynet.target import Target

SMALL = {"channels": [8, 8, 16, 16], "in_chans": 3, "output_stride": 8, "stem_width": 8}
ABOUT = {"dataset": "CIFAR-10", "input_size": [3, 32, 32], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2], "num_classes": 10}


def readme(repo: str, revision: str | None = None) -> str:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, "README.md", revision=revision)).read_text()


def config(repo: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    return json.loads(Path(hf_hub_download(repo, "config.json")).read_text())


def prepared(target: Target, picture: np.ndarray) -> torch.Tensor:
    """What the target's network is fed, [1, c, h, w]."""
    pixels: torch.Tensor = target.module[0](torch.from_numpy(Transform.of(target.entry)(picture)).float().div(255)[None])  # type: ignore[index]
    return pixels


def timm_pixels(repo: str, picture: np.ndarray) -> torch.Tensor:
    import timm

    facts = timm.data.resolve_model_data_config(timm.create_model(f"hf-hub:{repo}"))
    pixels: torch.Tensor = timm.data.create_transform(**facts, is_training=False)(Image.fromarray(picture))[None]
    return pixels


def transformers_pixels(repo: str, picture: np.ndarray) -> torch.Tensor:
    from transformers import AutoImageProcessor

    pixels: torch.Tensor = AutoImageProcessor.from_pretrained(repo)(Image.fromarray(picture), return_tensors="pt")["pixel_values"]
    return pixels


@pytest.mark.parametrize(("crop", "resize"), [("squash", None), ("squash", 41), ("border", None), ("center", 56), ("center", 49)])
def test_a_push_feeds_the_same_pixels(crop: str, resize: int | None, hub: Hub, tmp_path: Path) -> None:
    """timm and transformers make of the pushed config what the record states."""
    import timm

    from securitynet.inputs import from_module

    network = timm.create_model("resnet10t", num_classes=10, **SMALL).eval()
    about = {**ABOUT, "architecture": "timm:resnet10t", "interpolation": "bicubic", "crop": crop, "resize": resize}
    target, repo = from_module(network, about), "tester/push-pixels"
    push_model(network, repo, annotation=about)
    read = load_model(f"hf-hub:{repo}", cache_dir=tmp_path, progress=False)
    for picture in pictures():
        stated = prepared(target, picture)
        for fed in (prepared(read, picture), timm_pixels(repo, picture), transformers_pixels(repo, picture)):
            torch.testing.assert_close(fed, stated)
    cut = {**about, "crop": "center", "resize": None}
    with pytest.raises(UsageError, match="cannot say that images are cut without being scaled"):
        push_model(network, repo, annotation=cut)


def test_a_push_of_a_transformers_network_keeps_its_processor(hub: Hub, tmp_path: Path) -> None:
    from publisher_repos import write

    stated = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 71}, "crop_size": 64, "resample": 2}
    for number, processor in enumerate((stated, None)):  # None: the defaults of the class are written down
        target = load_model(write(tmp_path / str(number), "vit", processor), cache_dir=tmp_path, progress=False)
        push_model(target, f"tester/push-processor-{number}", annotation={"dataset": "digits"})
        for picture in pictures():
            torch.testing.assert_close(transformers_pixels(f"tester/push-processor-{number}", picture), prepared(target, picture))


def test_timm_and_transformers_read_a_timm_network(hub: Hub, tmp_path: Path) -> None:
    import timm
    from huggingface_hub import ModelCard
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=10, **SMALL).eval()
    known = json.dumps(network.pretrained_cfg, default=str)
    claim = {"claimed_accuracy": 0.91, "claimed_split": "test", "claim_source": "model card"}
    annotation = {**ABOUT, **claim, "licence": "CC-BY-NC-4.0", "crop": "center", "resize": 36, "interpolation": "bicubic"}
    pushed = push_model(network, "tester/push-timm", annotation=annotation)
    assert json.dumps(network.pretrained_cfg, default=str) == known, "the module itself is not changed"
    pixels = torch.rand(3, 3, 32, 32)
    mean, std = (torch.tensor(ABOUT[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        expected = network((pixels - mean) / std)
        theirs = timm.create_model("hf-hub:tester/push-timm", pretrained=True).eval()
        assert torch.equal(theirs((pixels - mean) / std), expected)
        wrapped = AutoModelForImageClassification.from_pretrained("tester/push-timm").eval()
        assert torch.equal(wrapped(pixel_values=(pixels - mean) / std).logits, expected)
        ours = load_model("hf-hub:tester/push-timm", cache_dir=tmp_path)
        assert torch.equal(ours.module(pixels), expected)
    assert wrapped.config.id2label[3] == "cat"
    black = AutoImageProcessor.from_pretrained("tester/push-timm")(Image.new("RGB", (40, 50)), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(black, (-mean / std).expand(1, 3, 32, 32))
    for picture in pictures():
        fed = prepared(ours, picture)
        for theirs in (timm_pixels("tester/push-timm", picture), transformers_pixels("tester/push-timm", picture)):
            torch.testing.assert_close(fed, theirs)
    entry, card = ours.entry, ModelCard.load("tester/push-timm").data
    assert (entry.dataset, entry.resize, entry.interpolation, entry.claimed_accuracy) == ("CIFAR-10", 36, "bicubic", 0.91)
    assert entry.revision == pushed.commit
    assert (card.license, card.library_name, card.datasets) == ("cc-by-nc-4.0", "timm", ["uoft-cs/cifar10"])
    assert [(one.metric_type, one.metric_value, one.dataset_split) for one in card.eval_results] == [("accuracy", 0.91, "test")]
    described = config("tester/push-timm")["pretrained_cfg"]
    assert described["license"] == "cc-by-nc-4.0"
    assert not {"url", "hf_hub_id", "paper_ids", "origin_url"} & {name for name, value in described.items() if value}
    tagged = load_model(f"hf-hub:tester/push-timm@{pushed.tag}", cache_dir=tmp_path)
    assert (tagged.entry.revision, pushed.tag) == (pushed.commit, f"weights-{ours.weights_sha256[:12]}")


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "nets:cifar_resnet", "architecture_args": {"depth": 8}},
        {"architecture": "torchvision:squeezenet1_1", "scale": 255.0, "channel_order": "BGR", "class_map": "list", "class_list": [9, 3, 0]},
    ],
)
def test_other_networks_come_back_too(hub: Hub, tmp_path: Path, changes: dict[str, Any]) -> None:
    from securitynet.entry import Entry
    from securitynet.loaders._architectures import build_network

    torch.manual_seed(0)
    network = build_network(Entry.from_record({"id": "made/up", **ABOUT, **changes})).eval()
    repo = "tester/push-" + changes["architecture"].partition(":")[2]
    push_model(network, repo, annotation={**ABOUT, **changes, "licence": "MIT"})
    target = load_model(f"hf-hub:{repo}", cache_dir=tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        x = (pixels.flip(1) * 255 if "scale" in changes else pixels) - torch.tensor(ABOUT["mean"]).view(3, 1, 1)
        expected = network(x / torch.tensor(ABOUT["std"]).view(3, 1, 1))
    expected = expected[:, changes["class_list"]] if "class_list" in changes else expected
    assert torch.equal(target.module(pixels), expected)
    assert set(config(repo)) == {"num_classes", "securitynet"} | ({"label_names"} if "class_list" not in changes else set())


def test_a_built_in_model_with_its_result(hub: Hub, tmp_path: Path) -> None:
    """Pushed, then evaluated by one call: the numbers are the same, the rows name the commit."""
    from huggingface_hub import HfApi, ModelCard

    repo = "tester/push-digits"
    target = load_model("builtin/digits-badnets", cache_dir=tmp_path)
    result = evaluate("builtin/digits-badnets", attacks=["membership/loss"], cache_dir=tmp_path)
    pushed = push_model(target, repo, annotation={}, result=result)
    again = evaluate(f"hf-hub:{repo}", attacks=["membership/loss"], cache_dir=tmp_path / "other")
    assert again.value("membership/loss", "auc") == result.value("membership/loss", "auc")
    assert again.verdict.notes == (*result.verdict.notes, "pixels: timm pillow create_transform")
    assert replace(again.verdict, notes=()) == replace(result.verdict, notes=())
    assert again.entry.claimed_accuracy == target.entry.claimed_accuracy
    assert {row.entry for row in again.rows} == {f"hf-hub:{repo}@{pushed.commit}"}
    assert {row.weights_sha256 for row in again.rows} == {target.weights_sha256}
    assert again.entry.backdoor == "badnets" and (load_folder(repo, tmp_path) / "trigger.safetensors").is_file()
    card = ModelCard.load(repo)
    assert ModelCard(str(card)).data.eval_results == card.data.eval_results
    found = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert found["membership/loss auc"] == result.value("membership/loss", "auc")
    listed = HfApi().model_info(repo, expand=["evalResults"]).eval_results
    assert {one.task_id for one in listed} >= {"membership/loss/auc", "verify/test_accuracy"}
    assert "| `membership/loss` | AUC |" in readme(repo)


def load_folder(repo: str, cache: Path) -> Path:
    folder = load_model(f"hf-hub:{repo}", cache_dir=cache).folder
    assert folder is not None
    return folder


def test_a_second_push_changes_its_block_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    repo, target = "tester/push-card", load_model("builtin/digits-regular", cache_dir=tmp_path)
    first = push_model(target, repo, annotation={})
    assert "Not measured yet" in readme(repo)
    assert push_model(target, repo, annotation={}).files == 0
    own = readme(repo).replace("tags:", "# a remark\nlanguage: fi\ntags:").replace(BEGIN, f"Ours before.\n{BEGIN}") + "\nOurs after.\n"
    HfApi().upload_file(repo_id=repo, path_or_fileobj=own.encode(), path_in_repo="README.md")
    result = evaluate(target, attacks=["membership/loss"], cache_dir=tmp_path)
    second = push_model(target, repo, annotation={}, result=result)
    text = readme(repo)
    assert text.partition(BEGIN)[0].partition("model-index:")[0] == own.partition(BEGIN)[0].partition("model-index:")[0]
    assert text.partition(BEGIN)[0].endswith("Ours before.\n") and text.partition(END)[2] == own.partition(END)[2]
    assert "`membership/loss`" in text.partition(BEGIN)[2] and second.commit != first.commit
    assert push_model(target, repo, annotation={}).files == 0, "without a result, what is known about these weights stays"
    other = push_model(load_model("builtin/digits-overfit", cache_dir=tmp_path), repo, annotation={})
    assert "Not measured yet" in readme(repo) and other.tag != first.tag
    assert ".eval_results/securitynet.yaml" not in HfApi().list_repo_files(repo)
    assert "SecurityNet" not in readme(repo).partition(BEGIN)[0]
    HfApi().upload_file(repo_id=repo, path_or_fileobj=readme(repo).replace(END, "").encode(), path_in_repo="README.md")
    with pytest.raises(HubError, match="has not one pair"):
        push_model(target, repo, annotation={}, result=result)


def test_what_is_refused(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    target = load_model("builtin/digits-regular", cache_dir=tmp_path)
    other = evaluate("builtin/digits-overfit", attacks=["membership/loss"], cache_dir=tmp_path)
    small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    with pytest.raises(UsageError, match="the result is about builtin/digits-overfit"):
        push_model(target, "tester/push-none", annotation={}, result=other)
    with pytest.raises(UsageError, match="built with mean"):
        push_model(target, "tester/push-none", annotation={"mean": [0.3]})
    with pytest.raises(UsageError, match="lacks architecture, mean, std"):
        push_model(small, "tester/push-none", annotation={"dataset": "CIFAR-10", "input_size": [3, 32, 32]})
    with pytest.raises(LoadError, match=r"missing|unexpected|do not fit"):
        push_model(small, "tester/push-none", annotation={**ABOUT, "architecture": "nets:cifar_resnet", "architecture_args": {"depth": 8}})
    with pytest.raises(UsageError, match="with a defence around it"):
        push_model(target.wrap(lambda module: torch.nn.Sequential(module)), "tester/push-none", annotation={})
    assert "tester/push-none" not in [one.id for one in HfApi().list_models()], "what is refused leaves nothing behind"


def test_an_annotation_leads_nowhere_else(hub: Hub, tmp_path: Path) -> None:
    """A repo is anybody's: its annotation names no address, no loader, no file outside."""
    from huggingface_hub import HfApi

    repo, target = "tester/push-evil", load_model("builtin/digits-regular", cache_dir=tmp_path)
    push_model(target, repo, annotation={})
    changed = config(repo)
    evil = {"weights_url": "https://example.org/x.pt", "loader": "checkpoint", "hub_id": "others/model", "members_file": "../../secret"}
    changed["securitynet"]["entry"] |= evil | {"backdoor_trigger": "../trigger.safetensors"}
    HfApi().upload_file(repo_id=repo, path_or_fileobj=json.dumps(changed).encode(), path_in_repo="config.json")
    entry = load_model(f"hf-hub:{repo}", cache_dir=tmp_path).entry
    assert (entry.weights_url, entry.loader, entry.hub_id, entry.members_file) == (None, "timm", repo, "members.safetensors")
    changed["securitynet"]["entry"] = {"output": "anything"}
    HfApi().upload_file(repo_id=repo, path_or_fileobj=json.dumps(changed).encode(), path_in_repo="config.json")
    with pytest.raises(LoadError, match="annotation in config"):
        load_model(f"hf-hub:{repo}", cache_dir=tmp_path)


def test_the_command(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from securitynet.cli import main
    from securitynet.results.store import write_rows

    result = evaluate("builtin/digits-constant", attacks=["membership/loss"], cache_dir=tmp_path)
    write_rows(tmp_path / "rows.jsonl", result.rows)
    asked = ["push", "model", "builtin/digits-constant", "--to", "tester/push-command", "--cache-dir", str(tmp_path)]
    assert main([*asked, "--result", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tag"].startswith("weights-")
    assert "**Suspect:** constant predictor" in readme("tester/push-command")
    assert main([*asked, "--create-pr"]) == 0
    assert "nothing new" in capsys.readouterr().out
    assert main(["push", "model", "builtin/none", "--to", "tester/push-command"]) == 2
