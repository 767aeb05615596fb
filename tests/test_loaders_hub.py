"""Models from the Hub, and folders in transformers' format: pinned, complete, without code of others."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import Hub

from securitynet import catalog
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import DownloadError, LoadError, SecurityNetError
from securitynet.loaders import load, load_model

BUILTIN = Path(str(catalog.__file__)).parent / "builtin"


def failure(kind: type[SecurityNetError], model: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_model(model, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def push(repo: str, folder: Path) -> str:
    """Upload a folder to the local Hub; return the commit."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, exist_ok=True)
    return api.upload_folder(repo_id=repo, folder_path=folder).oid


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier in transformers' format, with its preprocessor."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8],
        depths=[1, 1],
        num_labels=3,
        id2label={0: "a", 1: "b", 2: "c"},
        label2id={"a": 0, "b": 1, "c": 2},
    )
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    preprocessor = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.2],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def test_a_folder_in_transformers_format(tiny: Path, tmp_path: Path) -> None:
    """The answer is that of the library itself, its own preprocessor included."""
    import numpy as np
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    target = load_model(tiny, cache_dir=tmp_path)
    assert (target.entry.num_classes, target.entry.input_size, target.entry.crop) == (3, (3, 32, 32), None)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    inputs = AutoImageProcessor.from_pretrained(tiny)(image, return_tensors="pt")
    with torch.inference_mode():
        theirs = AutoModelForImageClassification.from_pretrained(tiny).eval()(**inputs).logits
        ours = target.module(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def copied(tiny: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_transformers_folders_that_are_refused(tiny: Path, tmp_path: Path) -> None:
    classes = {"id2label": {str(number): str(number) for number in range(5)}, "label2id": {str(number): number for number in range(5)}}
    assert "transformers cannot load it" in failure(LoadError, copied(tiny, tmp_path / "classes", **classes))
    assert "do not fit" in failure(LoadError, copied(tiny, tmp_path / "deeper", depths=[1, 2]))
    assert "transformers has no models of type 'nonsense'" in failure(LoadError, copied(tiny, tmp_path / "unknown", model_type="nonsense"))
    damaged = copied(tiny, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes()[:1000])
    assert "damaged safetensors file" in failure(LoadError, damaged)


def test_code_in_a_repo_is_never_run(tiny: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    folder = copied(
        tiny, tmp_path / "code", model_type="mine", auto_map={"AutoConfig": "code.Config", "AutoModelForImageClassification": "code.Net"}
    )
    (folder / "code.py").write_text(
        f"open({str(mark)!r}, 'w')\nfrom transformers import ResNetConfig as Config, ResNetForImageClassification as Net\n"
    )
    assert "needs code of its own ('code.Config'), which is never run" in failure(LoadError, folder)
    pickled = copied(tiny, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps({"x": mark}))
    assert "holds code, not only tensors" in failure(LoadError, pickled)
    assert not mark.exists()


def test_a_repo_in_timms_format(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    repo, known = "tester/loaders-digits", load_model("builtin/digits-regular", cache_dir=tmp_path)
    first = push(repo, BUILTIN / "digits-regular")
    HfApi().create_tag(repo, tag="v1")
    second = push(repo, BUILTIN / "digits-overfit")
    assert first != second
    tagged, newest = (
        load_model(f"hf-hub:{repo}@v1", cache_dir=tmp_path, progress=False),
        load_model(f"hf-hub:{repo}", cache_dir=tmp_path, progress=False),
    )
    assert (tagged.entry.id, tagged.entry.revision, newest.entry.revision) == (f"hf-hub:{repo}", first, second)
    assert (tagged.entry.dataset, tagged.entry.members_file) == ("digits", "members.safetensors")
    pixels = torch.rand(4, 1, 32, 32)
    assert torch.equal(tagged.module(pixels), known.module(pixels))
    assert not torch.equal(newest.module(pixels), known.module(pixels))
    assert tagged.folder is not None and (tagged.folder / "members.safetensors").is_file()
    offline = load_model(f"hf-hub:{repo}@v1", cache_dir=tmp_path, offline=True)
    assert (offline.entry, offline.weights_sha256) == (tagged.entry, tagged.weights_sha256)
    assert "given" in load_model(f"hf-hub:{repo}", entry={"notes": "given"}, cache_dir=tmp_path).entry.notes  # type: ignore[operator]


def test_a_repo_in_transformers_format(hub: Hub, tiny: Path, tmp_path: Path) -> None:
    commit = push("tester/loaders-tiny", tiny)
    target, local = load_model("hf-hub:tester/loaders-tiny", cache_dir=tmp_path), load_model(tiny, cache_dir=tmp_path)
    assert target.entry.revision == commit
    assert target.fingerprint == local.fingerprint and target.weights_sha256 == local.weights_sha256


def test_repos_that_cannot_be_had(hub: Hub, tmp_path: Path) -> None:
    push("tester/loaders-bare", _only_a_readme(tmp_path))
    assert "does not exist on the Hub" in failure(DownloadError, "hf-hub:tester/loaders-nowhere")
    assert "has no file config.json" in failure(DownloadError, "hf-hub:tester/loaders-bare")
    assert "has no revision v9" in failure(DownloadError, "hf-hub:tester/loaders-bare@v9")
    assert "not in the Hub's cache" in failure(DownloadError, "hf-hub:tester/loaders-never", offline=True)
    assert "refuses" in failure(DownloadError, "hf-hub:not a name")


def test_a_hub_that_nobody_answers(hub: Hub, tmp_path: Path) -> None:
    """One line, no retries, in another process: the client reads the Hub's address when it is imported."""
    program = "import sys; from securitynet.cli import main; sys.exit(main(['verify', 'hf-hub:tester/loaders-nowhere']))"
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "SECURITYNET_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the Hub cannot be reached" in done.stderr and done.stderr.count("\n") == 1


def _only_a_readme(folder: Path) -> Path:
    (folder / "readme").mkdir()
    (folder / "readme" / "README.md").write_text("# Nothing here\n")
    return folder / "readme"


def test_a_hash_holds_for_the_hub_too(hub: Hub, tmp_path: Path) -> None:
    """A wrong file is deleted from the Hub's cache, and fetched anew by the next run."""
    push("tester/loaders-pinned", BUILTIN / "digits-regular")
    known = catalog.entry("builtin/digits-regular").to_record()
    record = known | {"id": "source/pinned", "loader": "checkpoint", "hub_id": "tester/loaders-pinned", "weights_file": "model.safetensors"}
    files = Files(tmp_path, progress=False)
    target = load(Entry.from_record(record), files)
    assert target.weights_sha256 == known["weights_hash"] and target.folder is not None
    with pytest.raises(DownloadError, match="wrong hash"):
        load(Entry.from_record(record | {"weights_hash": "0" * 64}), files)
    assert not (target.folder / "model.safetensors").exists()
    assert load(Entry.from_record(record), files).weights_sha256 == known["weights_hash"]
    push("tester/loaders-pinned", BUILTIN / "digits-overfit")
    with pytest.raises(DownloadError, match="not what it was at its first download"):
        load(Entry.from_record(record | {"weights_hash": None}), files)


def test_timms_own_weights_come_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    """The registry names the repo; nothing is fetched by timm itself."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("test_resnet.r160_in1k").eval()
    (tmp_path / "repo").mkdir()
    save_file(network.state_dict(), tmp_path / "repo" / "model.safetensors")
    hub_id = timm.get_pretrained_cfg("test_resnet.r160_in1k").hf_hub_id
    given = {"hub_id": "tester/loaders-timm"}
    push(given["hub_id"], tmp_path / "repo")
    target = load_model("timm:test_resnet.r160_in1k", entry=given, cache_dir=tmp_path)
    assert (target.entry.id, hub_id) == ("timm/test_resnet.r160_in1k", "timm/test_resnet.r160_in1k")
    assert (target.entry.dataset, target.entry.resize, target.entry.interpolation) == ("ImageNet-1k", 168, "bilinear")
    pixels = torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(target.module(pixels), network((pixels - 0.5) / 0.5))


def test_a_timm_network_that_transformers_saved(tmp_path: Path) -> None:
    """transformers writes timm's networks with a prefix before every key and timm's config beside its own."""
    from safetensors.torch import load_file, save_file

    known = load_model("builtin/digits-regular", cache_dir=tmp_path)
    state = load_file(BUILTIN / "digits-regular" / "model.safetensors")
    save_file({f"timm_model.{name}": tensor for name, tensor in state.items()}, tmp_path / "model.safetensors")
    config = json.loads((BUILTIN / "digits-regular" / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"model_type": "timm_wrapper", "architectures": ["TimmWrapperForImageClassification"]})
    )
    pixels = torch.rand(2, 1, 32, 32)
    assert torch.equal(load_model(tmp_path, cache_dir=tmp_path / "cache").module(pixels), known.module(pixels))
