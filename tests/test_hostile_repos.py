"""Model repos that want to do harm: configs, cards, arguments and names; nothing is run, asked, or built beyond its weights."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hostile import refused

from securitynet import catalog
from securitynet.errors import LoadError, SecurityNetError, Skipped, shown
from securitynet.foreign import yaml_mapping
from securitynet.loaders import load_model
from securitynet.loaders._labels import card_facts

DIGITS = Path(str(catalog.__file__)).parent / "builtin" / "digits-regular"
MARK = "hostile-mark"
VIT: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "intermediate_size": 8, "image_size": 32, "patch_size": 16, "num_labels": 2,
}  # fmt: skip
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier that transformers itself saved."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("vit")
    config = transformers.ViTConfig(**{key: value for key, value in VIT.items() if key not in ("architectures", "model_type")})
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


def copied(source: Path, place: Path, file: str = "config.json", **changes: Any) -> Path:
    shutil.copytree(source, place)
    stated = json.loads((place / file).read_text())
    (place / file).write_text(json.dumps({**stated, **changes}))
    return place


def read(place: Path) -> str:
    return refused(lambda: load_model(place, progress=False, cache_dir=place.parent / "cache"))


def test_the_controls_load(vit: Path, tmp_path: Path) -> None:
    assert load_model(vit, cache_dir=tmp_path).num_classes == 2
    assert load_model(DIGITS, cache_dir=tmp_path).num_classes == 10


CONFIGS: dict[str, str] = {
    "deep-list": "[" * 100_000 + "]" * 100_000,
    "deep-object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep-inside": '{"architectures": ["A"], "x": ' + "[" * 900 + "]" * 900 + "}",
    "list": "[1]",
    "number": "7",
    "text": '"a"',
    "nothing": "",
    "not-json": "{'a': 1}",
    "long-number": '{"num_labels": ' + "9" * 10_000 + "}",
    "not-a-number": json.dumps({**VIT, "hidden_size": float("nan")}),
    "endless": json.dumps({**VIT, "layer_norm_eps": float("inf"), "hidden_size": float("-inf")}),
    "not-utf8": '{"a": "\udcff"}',
    "huge": '{"a": "' + "b" * 20_000_000 + '"}',
    "twice": '{"architectures": 1, "architectures": [[[]]]}',
    "zero-byte": '{"model_type": "\\u0000"}',
}


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_configs(vit: Path, tmp_path: Path, kind: str, name: str) -> None:
    place = copied(vit, tmp_path / "in")
    (place / name).write_text(CONFIGS[kind], encoding="utf-8", errors="surrogateescape")
    try:
        load_model(place, cache_dir=tmp_path)
    except SecurityNetError:
        read(place)
    else:  # a processor's config may hold what nobody reads
        assert name != "config.json"


VALUES: dict[str, dict[str, Any]] = {
    "layers": {"num_hidden_layers": 10**6},
    "layers-more": {"num_hidden_layers": 10**30},
    "width": {"hidden_size": 10**7},
    "inner-width": {"intermediate_size": 10**9},
    "heads": {"hidden_size": 10**5, "num_attention_heads": 10**5},
    "image": {"image_size": 10**6},
    "image-more": {"image_size": [10**9, 10**9]},
    "patch": {"patch_size": 0},
    "patch-negative": {"patch_size": -1},
    "channels": {"num_channels": 10**6},
    "classes": {"num_labels": 10**9, "id2label": None},
    "classes-none": {"num_labels": 0, "id2label": {}},
    "classes-negative": {"num_labels": -5, "id2label": None},
    "labels-many": {"id2label": {str(number): "a" for number in range(300_000)}},
    "labels-nested": {"id2label": {"0": {"a": [1]}, "1": [2]}},
    "labels-number": {"id2label": 7},
    "labels-long": {"id2label": {"0": "B" * 1_000_000, "1": "b"}, "architectures": ["A" * 1_000_000]},
    "kind-long": {"model_type": "m" * 1_000_000},
    "kind-escapes": {"model_type": "\x1b[2J\x1b[31m\n\u202evit"},
    "kind-list": {"model_type": ["vit"]},
    "kind-unknown": {"model_type": "../../etc/passwd"},
    "class-text": {"architectures": "ViTForImageClassification"},
    "class-number": {"architectures": [7]},
    "class-escapes": {"architectures": ["\x1b]0;title\x07ForImageClassification" * 100], "model_type": "\x1b"},
    "act": {"hidden_act": "__import__('os').system('touch hostile-mark')"},
    "act-list": {"hidden_act": ["gelu"]},
    "eps": {"layer_norm_eps": "x"},
    "dropout": {"hidden_dropout_prob": 1e30},
    "code": {"auto_map": {"AutoConfig": "code.Config", "AutoModelForImageClassification": "code.Net"}, "model_type": "mine"},
    "code-elsewhere": {"auto_map": {"AutoModelForImageClassification": "evil/repo--code.Net"}, "model_type": "mine"},
    "quantised": {"quantization_config": {"quant_method": "\x1b[31m" + "q" * 5000}},
    "quantised-list": {"quantization_config": [1]},
    "problem": {"problem_type": "multi_label_classification"},
    "annotation": {"securitynet": {"entry": {"num_classes": "x" * 10_000}}},
    "annotation-deep": {"securitynet": {"entry": {"notes": [[[["a"]]]]}}},
    "annotation-elsewhere": {"securitynet": {"entry": {"architecture": "nets:../../x"}}, "architectures": None, "model_type": None},
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_values_of_a_config(vit: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = copied(vit, tmp_path / "in", **VALUES[kind])
    (place / "code.py").write_text(f"open({str(tmp_path / MARK)!r}, 'w')\n")
    read(place)
    assert not (tmp_path / MARK).exists()


PROCESSORS: dict[str, dict[str, Any]] = {
    "size": {"size": {"height": 10**9, "width": 10**9}},
    "size-text": {"size": "x" * 10_000},
    "size-negative": {"size": -5},
    "size-deep": {"size": {"height": {"a": 1}, "width": [1]}},
    "crop": {"do_center_crop": True, "crop_size": 10**12},
    "mean-text": {"image_mean": "a", "image_std": "b"},
    "mean-many": {"image_mean": [0.5] * 100_000, "image_std": [0.5] * 100_000},
    "mean-nested": {"image_mean": [[0.5]], "image_std": [0.5]},
    "std-zero": {"image_mean": [0.5] * 3, "image_std": [0.0] * 3},
    "std-endless": {"image_mean": [0.5] * 3, "image_std": [1e400] * 3},
    "factor": {"rescale_factor": "1/255"},
    "factor-huge": {"rescale_factor": 1e300},
    "resample": {"resample": 99},
    "resample-text": {"resample": "\x1b[31mbest"},
    "kind": {"image_processor_type": "os.system"},
    "kind-long": {"image_processor_type": "A" * 1_000_000},
    "code": {"auto_map": {"AutoImageProcessor": "code.P"}, "image_processor_type": "P"},
    "pad": {"do_pad": True, "pad_size": {"height": 10**9, "width": 10**9}},
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_values_of_a_processor(vit: Path, tmp_path: Path, kind: str) -> None:
    place = copied(vit, tmp_path / "in", "preprocessor_config.json", **PROCESSORS[kind])
    (place / "code.py").write_text(f"open({str(tmp_path / MARK)!r}, 'w')\n")
    read(place)
    assert not (tmp_path / MARK).exists()


TIMM: dict[str, dict[str, Any]] = {
    "depth": {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 10**6}},
    "depth-allowed": {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 100_000}},
    "width": {"architecture": "vit_tiny_patch16_224", "model_args": {"embed_dim": 10**7}},
    "width-allowed": {"architecture": "vit_tiny_patch16_224", "model_args": {"embed_dim": 99_999, "num_heads": 1}},
    "layers": {"architecture": "resnet18", "model_args": {"layers": [100_000] * 4}},
    "layers-many": {"architecture": "resnet18", "model_args": {"layers": [2] * 100_000}},
    "patch": {"architecture": "vit_tiny_patch16_224", "model_args": {"patch_size": 0}},
    "not-finite": {"architecture": "vit_tiny_patch16_224", "model_args": {"mlp_ratio": float("inf")}},
    "no-number": {"architecture": "vit_tiny_patch16_224", "model_args": {"mlp_ratio": float("nan")}},
    "text": {"architecture": "vit_tiny_patch16_224", "model_args": {"embed_layer": "os.system"}},
    "pretrained": {"architecture": "resnet18", "model_args": {"pretrained": True}},
    "checkpoint": {"architecture": "resnet18", "model_args": {"checkpoint_path": "/etc/passwd"}},
    "deep": {"architecture": "resnet18", "model_args": {"layers": [[[1]]]}},
    "args-list": {"architecture": "resnet18", "model_args": [1]},
    "unknown": {"architecture": "x" * 1_000_000},
    "escapes": {"architecture": "resnet\x1b[31m\n18"},
    "path": {"architecture": "local-dir:/tmp"},
    "hub": {"architecture": "hf-hub:evil/model"},
    "name-list": {"architecture": ["resnet18"]},
    "classes": {"num_classes": 10**9},
    "classes-text": {"num_classes": "ten"},
    "classes-negative": {"num_classes": -1},
    "size": {"pretrained_cfg": {"input_size": [3, 10**9, 10**9]}},
    "size-text": {"pretrained_cfg": {"input_size": "3,32,32"}},
    "channels": {"pretrained_cfg": {"input_size": [10**8, 32, 32]}},
    "crop": {"pretrained_cfg": {"input_size": [1, 32, 32], "crop_pct": 1e-300}},
    "crop-text": {"pretrained_cfg": {"input_size": [1, 32, 32], "crop_pct": "a"}},
    "mean": {"pretrained_cfg": {"input_size": [1, 32, 32], "mean": "x", "std": {}}},
    "cfg-list": {"pretrained_cfg": [1, 2]},
    "interpolation": {"pretrained_cfg": {"input_size": [1, 32, 32], "interpolation": "\x1b" * 1000}},
}


@pytest.mark.parametrize("kind", TIMM)
def test_values_of_a_config_of_timm(tmp_path: Path, kind: str) -> None:
    place = copied(DIGITS, tmp_path / "in", **{"securitynet": None, **TIMM[kind]})
    read(place)


def bomb(levels: int, width: int = 10) -> str:
    """Each level multiplies by `width` what a reader builds."""
    lines = ["l0: &l0 [" + ",".join("x" * width) + "]"]
    return "\n".join(lines + [f"l{one}: &l{one} [{','.join([f'*l{one - 1}'] * width)}]" for one in range(1, levels)])


CARDS: dict[str, str] = {
    **{f"bomb-{levels}": f"{bomb(levels)}\ndatasets: *l{levels - 1}" for levels in (3, 6, 9, 40)},
    "bomb-of-mappings": "a0: &a0 {x: 1}\n" + "\n".join(f"a{one + 1}: &a{one + 1} {{p: *a{one}, q: *a{one}}}" for one in range(20)),
    "merge": "a: &a {x: 1}\nb:\n  <<: [*a, *a, *a]\ndatasets: digits",
    "circle": "datasets: &a [*a]",
    "deep": "datasets: " + "[" * 500 + "]" * 500,
    "deep-block": "\n".join(" " * one + "a:" for one in range(300)),
    "code": "datasets: !!python/object/apply:os.system ['touch hostile-mark']",
    "code-new": "datasets: !!python/object/new:type {args: [a, [], {}]}",
    "long-number": "datasets: " + "1" * 100_000,
    "sixties": "datasets: " + ":".join(["59"] * 10_000),
    "binary": "datasets: !!binary aGVsbG8=",
    "date": "datasets: 2001-99-99",
    "many": "datasets: [" + ",".join(["a"] * 200_000) + "]",
    "escapes": 'datasets: "\\e[31m\\n\\0"',
    "long": "a: " + "b" * 5_000_000,
    "not-yaml": "datasets: [",
    "list": "- a\n- b",
    "index": "model-index: [{results: [{metrics: [{type: accuracy, value: .nan}], dataset: {type: digits}}]}]\ndatasets: digits",
    "index-number": "model-index: 7\ndatasets: digits",
    "index-strange": "model-index: [{results: [{metrics: [{type: accuracy, value: [1]}], dataset: digits}]}]\ndatasets: digits",
    "index-split": "model-index: [{results: [{metrics: [{type: accuracy, value: 0.9}], dataset: {type: digits, split: [1]}}]}]",
}  # fmt: skip


@pytest.mark.parametrize("kind", CARDS)
def test_cards(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that cannot be read states nothing; the model is loaded within a second of computing."""
    monkeypatch.chdir(tmp_path)
    place = copied(DIGITS, tmp_path / "in")
    (place / "README.md").write_text(f"---\n{CARDS[kind]}\n---\n# A card\n")
    began = time.process_time()
    facts = card_facts(place / "README.md", [str(digit) for digit in range(10)])
    assert time.process_time() - began < 5
    assert facts.get("claimed_accuracy") in (None, 0.9) and not (tmp_path / MARK).exists()
    assert load_model(place, cache_dir=tmp_path / "cache").num_classes == 10


@pytest.mark.parametrize("kind", ["pipe", "zero", "random", "circle"])
@pytest.mark.parametrize("name", ["README.md", "config.json", "members.safetensors"])
def test_what_is_no_file_in_a_repo(tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_hostile_images import special

    place = copied(DIGITS, tmp_path / "in")
    (place / name).unlink(missing_ok=True)
    monkeypatch.chdir(place)
    special(Path(name), kind)
    if name == "config.json":
        read(place)
    else:
        assert load_model(place, cache_dir=tmp_path / "cache").num_classes == 10


TEXTS = ["\x1b[2J\x1b[31mred", "a\nb\rc\td", "\u202eevil\u2066", "x" * 10**6, "\u200b\u2028\ufeff", "\ud800", "\x00\x7f\x9b", "é漢字 stays"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_one_place_cleans_what_a_message_shows(text: str) -> None:
    for kind in (LoadError, Skipped):
        message = refused(lambda kind=kind: (_ for _ in ()).throw(kind(f"{text} and the remedy")))  # type: ignore[misc]
        assert message.endswith("and the remedy") and message == shown(message)
    assert ("é漢字" in text) == (shown(text) == text)


def test_rows_and_the_log_are_clean_too(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    from securitynet.cli import _log
    from securitynet.results.row import Row

    reason = Row(entry="a/b", reason="\x1b[31m" + "x" * 10_000 + "\n").reason or ""
    assert len(reason) < 500 and "\x1b" not in reason and "\n" not in reason
    before = logging.getLogger("securitynet").handlers
    try:
        _log(0)
        logging.getLogger("securitynet.loaders").warning("%s is loaded", "\x1b[31m\n" + "x" * 10_000)
    finally:
        logging.getLogger("securitynet").handlers = before
        logging.getLogger("securitynet").propagate = True
    said = capsys.readouterr().err
    assert len(said) < 500 and "\x1b" not in said and said.count("\n") == 1


@pytest.mark.parametrize("text", ["a: *b", "&a [*a]", "{a: 1}\n...\n{b: 2}", "\x07: 1", "? ? ? ?", "!!map [1]", "&a &b c"])
def test_yaml_that_is_refused(text: str) -> None:
    refused(lambda: yaml_mapping(text, "card", LoadError))


def test_nobody_but_the_hub_is_asked(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses stand everywhere in a repo; a run from a folder asks nobody at all."""
    place = copied(
        vit,
        tmp_path / "in",
        _name_or_path="http://127.0.0.1:9/model",
        url="http://127.0.0.1:9/x",
        auto_map={"AutoConfig": "evil/repo--code.Config"},
        tokenizer_class="http://127.0.0.1:9/t",
    )
    front = "datasets: ['http://127.0.0.1:9/data']\nbase_model: evil/repo\nmodel-index: []"
    (place / "README.md").write_text(f"---\n{front}\n---\n![x](http://127.0.0.1:9/a.png)\n")
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: asked.append(arguments) or [])
    monkeypatch.setattr(os, "system", lambda command: asked.append(command))
    assert load_model(place, cache_dir=tmp_path / "cache", progress=False).num_classes == 2
    assert not asked
