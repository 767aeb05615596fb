"""Forms of model repos that are no plain classifier in PyTorch: each is refused by its name, with what would work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from securitynet.errors import LoadError
from securitynet.loaders._configs import Config, shown

ZERO_SHOT = ("align", "altclip", "blip", "chinese_clip", "clip", "clipseg", "metaclip_2", "siglip", "siglip2", "xclip")
HEADS = {  # part of a class's name: what such a model does
    "ObjectDetection": "finds objects",
    "Segmentation": "segments images",
    "DepthEstimation": "estimates depth",
    "MaskedImageModeling": "fills in masked images",
    "PreTraining": "is pretrained, without a head for classes",
    "ZeroShotImageClassification": "compares images with texts (zero-shot)",
    "VideoClassification": "classifies videos",
    "SequenceClassification": "classifies texts",
    "TokenClassification": "classifies words",
    "AudioClassification": "classifies sounds",
    "CausalLM": "writes text",
    "ConditionalGeneration": "writes text",
    "QuestionAnswering": "answers questions",
    "ImageToImage": "makes images",
}
TORCH, STATE = "weights in PyTorch's format work", "its state dict as safetensors, with an entry, works"
CLIP = "a zero-shot CLIP model of open_clip, which has no class head; a model fine-tuned for classes works"
FILES: tuple[tuple[tuple[str, ...], str], ...] = (  # ends of file names: what such a repo is, and what would work
    (("open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"), CLIP),
    ((".onnx",), "an ONNX model; the PyTorch weights that it was exported from work"),
    ((".h5", ".keras", "saved_model.pb", "keras_metadata.pb"), f"a Keras or TensorFlow model; {TORCH}"),
    ((".tflite",), f"a TensorFlow Lite model; {TORCH}"),
    ((".msgpack",), f"Flax weights; {TORCH}"),
    ((".gguf",), "quantised weights (GGUF); the weights in full precision work"),
    ((".mlmodel", ".mlpackage"), f"a Core ML model; {TORCH}"),
    ((".torchscript", ".torchscript.pt", "scripted.pt", "traced.pt", ".ptl"), f"a TorchScript program; {STATE}"),
    (("export.pkl", "learn.pkl", "learner.pkl", "model.pkl"), f"a fastai learner or another pickle, which would run code; {STATE}"),
    ((".pkl", ".joblib", ".pickle"), f"a pickle, which would run code; {STATE}"),
    (("yolo.yaml", "best.pt", "yolov8n.pt"), "a YOLO model, which may find objects; a plain classifier in PyTorch's format works"),
)


def refuse_task(config: Config) -> None:
    """Raise LoadError where a config is not that of a classifier that gives one class per image, in full precision, without own code."""
    where, problem = config.where, config.text("problem_type")
    if problem == "multi_label_classification":
        raise LoadError(f"{where}: a multi-label model (problem_type); a model that gives one class per image works")
    if problem == "regression" or (config.integer("num_labels", 0, 10**7) == 1 and not config.has("id2label")):
        raise LoadError(f"{where}: a regression model, whose output is a number; a model that gives one class per image works")
    if isinstance(labels := config.values.get("id2label"), Mapping | list) and len(labels) == 1:
        raise LoadError(f"{where}: one label, so the output is a number and not a class; a model with two classes or more works")
    if config.has("quantization_config"):
        method = config.section("quantization_config").text("quant_method") or "unknown method"
        raise LoadError(f"{where}: quantised weights ({shown(method)}); the same model in full or half precision works")
    _refuse_code(config)
    for name in config.texts("architectures")[:1]:
        _refuse_head(config, name)


def _refuse_code(config: Config) -> None:
    code, kind = config.section("auto_map").values, config.text("model_type")
    if code and not config.has("architecture") and not (kind and _known(kind)):
        raise LoadError(
            f"{config.where}: the model needs code of its own ({shown(next(iter(code.values())))}), which is never run; "
            "a model whose class transformers or timm has works"
        )


def _known(kind: str) -> bool:
    try:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    except ImportError:
        return True
    return kind in CONFIG_MAPPING_NAMES


def _refuse_head(config: Config, name: str) -> None:
    if "ForImageClassification" in name or config.has("architecture"):
        return
    kind = config.text("model_type") or ""
    works = "a model of a class ...ForImageClassification works"
    for part, what in HEADS.items():
        if part in name:
            raise LoadError(f"{config.where}: {shown(name)} {what}; {works}")
    if name.endswith(("Model", "Backbone")):
        zero = kind in ZERO_SHOT and not name.endswith(("VisionModel", "TextModel"))
        what = "a zero-shot model that compares images with texts" if zero else "a backbone without a head for classes"
        raise LoadError(f"{config.where}: {shown(name)} is {what}; {works}")
    raise LoadError(f"{config.where}: {shown(name)} is no image classifier; {works}")


def form_of(names: Iterable[str]) -> str | None:
    """Return what a repo is, and what would work, from the names of its files; None where they do not tell."""
    listed = [PurePosixPath(name).name.lower() for name in names]
    return next((what for ends, what in FILES if any(name.endswith(ends) for name in listed)), None)
