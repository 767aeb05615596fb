"""Every form that a classifier takes on the Hub: loaded, or refused in one line that names what it is and what would work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub import Hub
from PIL import Image
from publisher_repos import write
from safetensors.torch import load_file, save_file

from securitynet.data.transform import Transform
from securitynet.errors import DownloadError, LoadError, SecurityNetError, UsageError
from securitynet.loaders import load_model

transformers = pytest.importorskip("transformers")
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 64}}
PIXELS = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ViT as transformers saves it."""
    return write(tmp_path_factory.mktemp("plain") / "vit", "vit", PROCESSOR)


def copy(plain: Path, folder: Path, change: dict[str, Any] | None = None) -> Path:
    shutil.copytree(plain, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **(change or {})}))
    return folder


def push(repo: str, folder: Path, inside: str | None = None) -> str:
    from huggingface_hub import HfApi

    HfApi().create_repo(repo, exist_ok=True)
    return HfApi().upload_folder(repo_id=repo, folder_path=folder, path_in_repo=inside).oid


def refused(model: Any, kind: type[SecurityNetError] = LoadError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_model(model, progress=False, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    return str(caught.value)


def logits(model: Any, cache: Path) -> torch.Tensor:
    with torch.inference_mode():
        answer: torch.Tensor = load_model(model, cache_dir=cache, progress=False).module(PIXELS)
    return answer


def sharded(folder: Path, suffix: str, save: Callable[[dict[str, torch.Tensor], Path], Any]) -> None:
    """Split the weights of a folder into two files with an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem, names = ("model" if suffix == "safetensors" else "pytorch_model"), sorted(state)
    parts = {f"{stem}-0000{one}-of-00002.{suffix}": names[one - 1 :: 2] for one in (1, 2)}
    for file, keys in parts.items():
        save({key: state[key] for key in keys}, folder / file)
    index = {"metadata": {}, "weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def test_the_same_weights_in_every_form_of_files(hub: Hub, plain: Path, tmp_path: Path) -> None:
    """One file or several, safetensors or a checkpoint, local or from the Hub: the same logits to the bit."""
    known, state = logits(plain, tmp_path), load_file(plain / "model.safetensors")
    forms = {name: copy(plain, tmp_path / name) for name in ("checkpoint", "shards", "shards-of-checkpoints")}
    torch.save(state, forms["checkpoint"] / "pytorch_model.bin")
    (forms["checkpoint"] / "model.safetensors").unlink()
    sharded(forms["shards"], "safetensors", lambda part, path: save_file(part, path, {"format": "pt"}))
    sharded(forms["shards-of-checkpoints"], "bin", torch.save)
    hashes = set()
    for name, folder in forms.items():
        assert torch.equal(logits(folder, tmp_path / "cache"), known), name
        push(f"tester/forms-{name}", folder)
        target = load_model(f"hf-hub:tester/forms-{name}", cache_dir=tmp_path / "cache", progress=False)
        assert torch.equal(target.module(PIXELS), known), name
        hashes.add(target.weights_sha256)
    assert len(hashes) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, plain: Path, tmp_path: Path) -> None:
    """Weights in half precision are computed with in full, as they are."""
    folder = copy(plain, tmp_path / "half", {"dtype": str(dtype).removeprefix("torch.")})
    rounded = {name: tensor.to(dtype) for name, tensor in load_file(plain / "model.safetensors").items()}
    save_file(rounded, folder / "model.safetensors", {"format": "pt"})
    network = transformers.AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    target = load_model(folder, cache_dir=tmp_path, progress=False)
    with torch.inference_mode():
        assert torch.equal(target.module(PIXELS), network(pixel_values=target.module[0](PIXELS)).logits)


def test_damaged_shards_are_refused(plain: Path, tmp_path: Path) -> None:
    missing = copy(plain, tmp_path / "missing")
    sharded(missing, "safetensors", lambda part, path: save_file(part, path, {"format": "pt"}))
    (missing / "model-00002-of-00002.safetensors").unlink()
    assert "lists model-00002-of-00002.safetensors, which is missing" in refused(missing)
    for where in ("../../etc/passwd", "/etc/passwd", "a/b.safetensors", "x.pkl"):
        outside = copy(plain, tmp_path / "outside")
        (outside / "model.safetensors").unlink()
        (outside / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": where}}))
        assert "which is no file beside it" in refused(outside)
        shutil.rmtree(outside)


def test_a_folder_of_a_repo(hub: Hub, plain: Path, tmp_path: Path) -> None:
    commit = push("tester/forms-many", plain, "checkpoints/best")
    target = load_model("hf-hub:tester/forms-many:checkpoints/best", cache_dir=tmp_path, progress=False)
    assert torch.equal(target.module(PIXELS), logits(plain, tmp_path))
    assert (target.entry.id, target.entry.revision) == ("hf-hub:tester/forms-many:checkpoints/best", commit)
    assert target.entry.weights_file == "checkpoints/best/model.safetensors"
    again = load_model(f"hf-hub:tester/forms-many@{commit}:checkpoints/best", cache_dir=tmp_path, progress=False)
    assert again.weights_sha256 == target.weights_sha256
    assert "has no file checkpoints/none/config.json" in refused("hf-hub:tester/forms-many:checkpoints/none", DownloadError)
    for name in ("hf-hub:tester/forms-many:", "hf-hub:tester/forms-many:../x", "hf-hub:tester/forms-many:/etc"):
        assert "give hf-hub:ORG/NAME" in refused(name, UsageError)


def adapter(base: Path, folder: Path, named: str, classes: int = 5, **settings: Any) -> torch.nn.Module:
    """Save a LoRA adapter of `base`, with a head of its own; return the network as peft runs it."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    network = transformers.AutoModelForImageClassification.from_pretrained(base, num_labels=classes, ignore_mismatched_sizes=True)
    given = {
        "r": 2,
        "target_modules": ["q_proj", "v_proj", "query", "value"],
        "modules_to_save": ["classifier"],
        "init_lora_weights": False,
    }
    adapted = peft.get_peft_model(network, peft.LoraConfig(**{**given, **settings}))
    adapted.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": named}))
    adapted.eval()
    return adapted


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"modules_to_save": None, "classes": 3}])
def test_adapters(settings: dict[str, Any], hub: Hub, plain: Path, tmp_path: Path) -> None:
    """Base and adapter are pinned, and both decide the hash; the logits are those of peft to the bit."""
    commit = push("tester/forms-base", plain)
    known = adapter(plain, tmp_path / "adapter", "tester/forms-base", **settings)
    push("tester/forms-adapter", tmp_path / "adapter")
    target = load_model("hf-hub:tester/forms-adapter", cache_dir=tmp_path, progress=False)
    assert (target.entry.base_model, target.entry.num_classes) == (f"tester/forms-base@{commit}", settings.get("classes", 5))
    with torch.inference_mode():
        assert torch.equal(target.module(PIXELS), known(pixel_values=target.module[0](PIXELS)).logits)
    base = load_model("hf-hub:tester/forms-base", cache_dir=tmp_path, progress=False)
    assert target.weights_sha256 != base.weights_sha256
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8))
    assert np.array_equal(Transform.of(target.entry)(picture), Transform.of(base.entry)(picture))
    local = load_model(tmp_path / "adapter", cache_dir=tmp_path, progress=False)
    assert local.weights_sha256 == target.weights_sha256


def test_adapters_that_are_refused(hub: Hub, plain: Path, tmp_path: Path) -> None:
    bases = {
        "tester/forms-nowhere": "base model tester/forms-nowhere",
        "/home/joe/vit": "its base model '/home/joe/vit' is no repo",
        "": "does not name",
    }
    for number, (named, words) in enumerate(bases.items()):
        adapter(plain, tmp_path / str(number), named)
        assert words in refused(tmp_path / str(number), (LoadError, DownloadError))  # type: ignore[arg-type]
    for changes, words in (
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base weights too"),
        ({"layer_replication": [[0, 10**6]]}, "the setting 'layer_replication' of an adapter is not supported"),
        ({"megatron_config": {"x": 1}, "megatron_core": "antigravity"}, "the setting 'megatron_config'"),
        ({"peft_type": "PROMPT_TUNING"}, "which changes texts and not networks"),
        ({"peft_type": "NOTHING"}, "peft has no adapters of the kind 'NOTHING'"),
        ({"peft_type": 3}, "adapter_config.json: peft_type must be a string, not 3"),
        ({"r": "two"}, "peft does not take this adapter"),
    ):
        adapter(plain, tmp_path / "changed", str(plain))
        config = json.loads((tmp_path / "changed" / "adapter_config.json").read_text())
        (tmp_path / "changed" / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        assert words in refused(tmp_path / "changed")
    adapter(plain, tmp_path / "deeper", str(plain), target_modules=["query", "q_proj"])
    state = load_file(tmp_path / "deeper" / "adapter_model.safetensors")
    renamed = {name.replace("layer.0", "layer.7").replace("layers.0", "layers.7"): tensor for name, tensor in state.items()}
    save_file(renamed, tmp_path / "deeper" / "adapter_model.safetensors")
    assert "does not fit its base model" in refused(tmp_path / "deeper")


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"problem_type": "multi_label_classification"}, "a multi-label model"),
    ({"problem_type": "regression"}, "a regression model"),
    ({"id2label": {"0": "quality"}}, "one label, so the output is a number"),
    ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised weights ('bitsandbytes')"),
    ({"architectures": ["YolosForObjectDetection"], "model_type": "yolos"}, "'YolosForObjectDetection' finds objects"),
    ({"architectures": ["SegformerForSemanticSegmentation"]}, "segments images"),
    ({"architectures": ["ViTModel"]}, "a backbone without a head for classes"),
    ({"architectures": ["CLIPModel"], "model_type": "clip"}, "a zero-shot model that compares images with texts"),
    ({"model_type": "mine", "auto_map": {"AutoModelForImageClassification": "mine.Mine"}}, "needs code of its own ('mine.Mine')"),
    ({"model_type": "nonsense"}, "transformers has no models of type 'nonsense'"),
    ({"architectures": "ViT"}, "config.json: architectures must be a list of strings, not 'ViT'"),
    ({"model_type": 7}, "config.json: model_type must be a string, not 7"),
    ({"image_size": "big"}, "config.json: transformers does not take it"),
    ({"image_size": 0}, "config.json: image_size must be a whole number from 1 to 2048"),
    ({"hidden_size": "many"}, "config.json: transformers does not take it"),
    ({"id2label": "x"}, "config.json: id2label must be an object or a list"),
    ({"auto_map": [1]}, "config.json: auto_map must be an object, not [1]"),
    ({"hidden_size": 10**7}, "far larger than its weights"),
    ({"num_hidden_layers": 10**7}, "far larger than its weights"),
]


@pytest.mark.parametrize(("change", "words"), OTHERS, ids=[words[:40] for _, words in OTHERS])
def test_configs_that_are_refused(change: dict[str, Any], words: str, plain: Path, tmp_path: Path) -> None:
    assert words in refused(copy(plain, tmp_path / "other", change), cache_dir=tmp_path)


PROCESSORS: list[tuple[dict[str, Any], str]] = [
    ({"size": "big"}, "preprocessor_config.json: size must be a whole number"),
    ({"size": 10**7}, "preprocessor_config.json: size must be a whole number from 1 to 2048"),
    ({"size": {"height": -3, "width": 4}}, "preprocessor_config.json: size must be"),
    ({"size": {"longest_edge": 64}}, "ViTImageProcessor of transformers refuses an image of 64x64 (Size must contain"),
    ({"do_resize": "yes"}, "preprocessor_config.json: do_resize must be true or false, not 'yes'"),
    ({"image_std": 0}, "preprocessor_config.json: image_std must be other than zero"),
    ({"image_mean": "x"}, "preprocessor_config.json: image_mean must be a number"),
    ({"image_mean": [0.5] * 4}, "refuses an image"),
    ({"resample": 99}, "preprocessor_config.json: resample must be a whole number from 0 to 5, not 99"),
    ({"resample": "quick"}, "refuses an image of 64x64 (Invalid interpolation"),
    ({"rescale_factor": float("nan")}, "preprocessor_config.json: rescale_factor must be a number"),
    ({"image_processor_type": "os.system"}, "transformers makes no image processor of it"),
    ({"image_processor_type": 3}, "preprocessor_config.json: image_processor_type must be a string, not 3"),
    ({"image_processor_type": "Siglip2ImageProcessor", "size": None, "patch_size": 16, "max_num_patches": 16}, "not one picture"),
    ({"to_dict": 3, "to_json_string": 1}, "transformers makes no image processor of it"),
]


@pytest.mark.parametrize(("change", "words"), PROCESSORS, ids=[words[:50] for _, words in PROCESSORS])
def test_processors_that_are_refused(change: dict[str, Any], words: str, plain: Path, tmp_path: Path) -> None:
    folder = copy(plain, tmp_path / "other")
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **change}))
    assert words in refused(folder, cache_dir=tmp_path)


TIMM: list[tuple[dict[str, Any], str]] = [
    ({"model_args": [1, 2]}, "config.json: model_args must be an object"),
    ({"model_args": {"depth": 99_999}}, "far larger than its weights"),
    ({"model_args": {"embed_dim": 99_999}}, "far larger than its weights"),
    ({"num_classes": "ten"}, "config.json: num_classes must be a whole number, not 'ten'"),
    ({"num_classes": 0}, "without a head, which gives features"),
    ({"pretrained_cfg": {"input_size": "3x224"}}, "config.json: pretrained_cfg: input_size must be"),
    ({"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "config.json: pretrained_cfg: input_size must be three whole numbers"),
    ({"pretrained_cfg": {"crop_pct": "0.9"}}, "config.json: pretrained_cfg: crop_pct must be a number"),
    ({"pretrained_cfg": {"mean": [0.5, 0.5]}}, "config.json: pretrained_cfg: mean must be 3 numbers"),
    ({"pretrained_cfg": {"interpolation": "quick"}}, "config.json: pretrained_cfg: interpolation must be one of"),
    ({"pretrained_cfg": 3}, "config.json: pretrained_cfg must be an object, not 3"),
    ({"architecture": 3}, "config.json: architecture must be a string, not 3"),
]


@pytest.mark.parametrize(("change", "words"), TIMM, ids=[words[:50] for _, words in TIMM])
def test_timm_configs_that_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    import timm
    from timm.models import save_for_hf

    small = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    save_for_hf(timm.create_model("vit_tiny_patch16_224", num_classes=4, **small), str(tmp_path / "t"), model_args=small)
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    (tmp_path / "t" / "config.json").write_text(json.dumps({**config, **change}))
    assert words in refused(tmp_path / "t", cache_dir=tmp_path)


FILES = {
    "model.onnx": "an ONNX model", "model.keras": "a Keras or TensorFlow model", "saved_model.pb": "a Keras or TensorFlow model",
    "export.pkl": "a fastai learner", "model_scripted.pt": "a TorchScript program", "open_clip_config.json": "a zero-shot CLIP model",
    "model.tflite": "a TensorFlow Lite model", "flax_model.msgpack": "Flax weights", "model.gguf": "quantised weights",
}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), FILES.items())
def test_repos_in_other_formats(name: str, words: str, hub: Hub, plain: Path, tmp_path: Path) -> None:
    """With or without a config, on disk or on the Hub, they are named for what they are."""
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / name).write_text("x")
    with_config = copy(plain, tmp_path / "config")
    (with_config / "model.safetensors").unlink()
    (with_config / name).write_text("x")
    push(f"tester/forms-{name.replace('.', '-')}", tmp_path / "alone")
    for model in (tmp_path / "alone", with_config, f"hf-hub:tester/forms-{name.replace('.', '-')}"):
        said = refused(model, cache_dir=tmp_path)
        assert words in said and " work" in said


def test_a_config_of_another_library(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "config.json").write_text(json.dumps({"module": "keras_hub.src.models", "class_name": "ResNetBackbone"}))
    assert "neither in timm's nor in transformers' format" in refused(tmp_path / "keras")
    (tmp_path / "keras" / "model.weights.h5").write_text("x")
    push("tester/forms-keras", tmp_path / "keras")
    for model in (tmp_path / "keras", "hf-hub:tester/forms-keras"):
        assert "a Keras or TensorFlow model" in refused(model, cache_dir=tmp_path)


def test_nesting_and_size_are_bounded(plain: Path, tmp_path: Path) -> None:
    folder = copy(plain, tmp_path / "deep")
    for depth in (40, 100_000):
        (folder / "config.json").write_text('{"a":' * depth + "1" + "}" * depth)
        assert "nested too deeply" in refused(folder)
    (folder / "config.json").write_text('{"a":"' + "x" * 17_000_000 + '"}')
    assert "bytes are too many for a config" in refused(folder)
    (folder / "config.json").write_text("[1]")
    assert "must hold a JSON object" in refused(folder)


@pytest.mark.parametrize("labels", [["oak", "beech", "larch"], {"a": "oak", "b": "beech", "c": "larch"}, {"0": "oak", "3": "x", "9": "y"}])
def test_the_number_of_classes_is_that_of_the_head(labels: Any, plain: Path, tmp_path: Path) -> None:
    """Whatever the labels are called and however they are numbered."""
    folder = copy(plain, tmp_path / "labels", {"id2label": labels})
    assert torch.equal(logits(folder, tmp_path), logits(plain, tmp_path))
