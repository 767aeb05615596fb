"""The whole ladder on models of every shape: it works, or says in one line why not, and leaves the model as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from planted import planted
from test_detectors import NOTHING
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

import securitynet
from securitynet.attacks.backdoor._clean import fields
from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.cli import DONE, main
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError
from securitynet.target import Target, build

CPU = Accelerator(cpu=True)
Size = tuple[int, ...]


def convolutional(size: Size, classes: int) -> nn.Module:
    """With batch norm and dropout, of which a careless detector would change the one and be changed by the other."""
    kind = nn.Conv3d if len(size) == 4 else nn.Conv2d
    norm = nn.BatchNorm3d if len(size) == 4 else nn.BatchNorm2d
    features = 8 * math.prod(-(-side // 2) for side in size[1:])
    return nn.Sequential(kind(size[0], 8, 3, 2, 1), norm(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(features, classes))


def softmaxed(size: Size, classes: int) -> nn.Module:
    return nn.Sequential(convolutional(size, classes), nn.Softmax(1))


def headless(size: Size, classes: int) -> nn.Module:
    """A last layer that cannot be told: logits are pooled maps."""
    return nn.Sequential(nn.Conv2d(size[0], classes, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def timm_transformer(size: Size, classes: int) -> nn.Module:
    arguments = {"img_size": size[1:], "in_chans": size[0], "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=classes, **arguments)


class Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(pixels).logits
        return logits


def transformers_transformer(size: Size, classes: int) -> nn.Module:
    facts = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "patch_size": 4}
    return Logits(ViTForImageClassification(ViTConfig(image_size=size[1], num_channels=size[0], num_labels=classes, **facts)))


@dataclass(frozen=True)
class Shape:
    """A model: `network(size, classes)`; `images` says whether some are at hand, `missing` which stages cannot be run."""

    network: Callable[[Size, int], nn.Module]
    size: Size
    classes: int
    images: bool
    missing: tuple[str, ...] = ()
    output: str = "logits"


SHAPES = {
    "2 classes": Shape(convolutional, (3, 8, 8), 2, True),
    "2 classes, no images": Shape(convolutional, (1, 8, 8), 2, False),
    "1,000 classes, no images": Shape(convolutional, (1, 8, 8), 1000, False),
    "wide": Shape(convolutional, (3, 8, 14), 4, True),
    "high, 1 channel, no images": Shape(convolutional, (1, 13, 8), 4, False),
    "softmax": Shape(softmaxed, (3, 8, 8), 5, True, output="probabilities"),
    "softmax, 2 classes, no images": Shape(softmaxed, (1, 9, 8), 2, False, output="probabilities"),
    "transformer of timm": Shape(timm_transformer, (3, 8, 8), 5, True),
    "transformer of timm, wide, no images": Shape(timm_transformer, (3, 8, 16), 5, False),
    "transformer of transformers, no images": Shape(transformers_transformer, (3, 8, 8), 5, False),
    "under 8 pixels": Shape(convolutional, (3, 6, 6), 5, True, ("neo",)),
    "no last layer": Shape(headless, (3, 8, 8), 5, True, ("last_layer",)),
    "volumes": Shape(convolutional, (1, 8, 8, 8), 5, True, ("neo",)),
    "volumes, no images": Shape(convolutional, (1, 8, 8, 8), 5, False, ("neo", "neural_cleanse")),
}


def given(shape: Shape) -> tuple[Target, Splits]:
    """The model, and smooth fields that are labelled as it answers them: verification has nothing to say."""
    entry = Entry(id="test/shape", num_classes=shape.classes, input_size=shape.size, output=shape.output)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = shape.network(shape.size, shape.classes)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.normal_(part.running_mean, std=0.3)  # type: ignore[arg-type]
        (last,) = [
            part for part in network.modules() if shape.classes in (getattr(part, "out_features", 0), getattr(part, "out_channels", 0))
        ]
        nn.init.normal_(last.weight)
    target, shown = build(entry, network), (fields(shape.size, 64, 3) * 255).round()
    with torch.no_grad():
        last.bias -= target.module(shown / 255).mean(0)  # so that no class gets every image
        labels = target.module(shown / 255).argmax(1).numpy()
    if not shape.images:
        return target, replace(NOTHING, num_classes=shape.classes)
    pixels = (shown.movedim(1, -1) if len(shape.size) == 3 else shown[:, 0]).byte().numpy()
    return target, draw(ImageSet("test", None, ArrayImages(pixels, labels)), Transform(shape.size), shape.classes)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_ladder_works_or_says_why_not(shape: Shape) -> None:
    target, splits = given(shape)
    target.module.train()  # not how a loader leaves it: what was so must be so again
    before = {name: value.clone() for name, value in target.module.state_dict().items()}
    found = Ladder()(target, splits, CPU)
    assert all(part.training for part in target.module.modules()), "and in between it was not, or batch norm would have moved:"
    assert all(torch.equal(value, before[name]) for name, value in target.module.state_dict().items())
    assert {stage.evidence.statistics.shape for stage in found.stages} == {(shape.classes,)}
    assert all(np.isfinite(stage.evidence.score) and not stage.found.calibrated for stage in found.stages)
    missing = {line.partition(":")[0].removeprefix("no ") for line in found.left_out}
    exchange = {"universal_permutation"}  # needs an image of every class
    assert missing - exchange == set(shape.missing) and (shape.images or missing >= exchange)
    assert len(found.stages) == 6 - len(missing) and all(len(line.splitlines()) == 1 and len(line) > 30 for line in found.left_out)
    values = {one.metric: one for one in found.metrics()}
    p_value, words = values["p_value"].value, values["p_value"].reason or ""
    assert p_value is not None and 0 < p_value <= 1 and found.judgement.level in (0.01, 1e-4) and "calibrated: no" in words
    assert ("no images" in words) == (not shape.images)
    assert ("maximum_margin, strip, last_layer not counted" in words) == (shape.classes < 4)
    assert ("probabilities" in words) == (shape.output == "probabilities") and values["target_class"].value in range(shape.classes)


def test_scores_on_made_up_images_are_not_calibrated() -> None:
    """The nulls were measured on images of the dataset; without any, what kind of model it is cannot be measured either."""
    target, splits = planted((1, 8, 8), 10, dataset="MNIST")
    found = Ladder()(target, replace(splits, test=None, non_members=None), CPU)
    assert not any(stage.found.calibrated for stage in found.stages) and len(found.stages) == 5


def test_no_data_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line, too, where the images can be left out; without a word about them, it says what is missing."""
    network = convolutional((1, 8, 8), 5)
    facts = {"input_size": [1, 8, 8], "num_classes": 5, "mean": [0.5], "std": [0.5]}
    result = securitynet.evaluate(network, "none", ["backdoor:standard", "membership/loss"], preprocessing=facts, cache_dir=tmp_path)
    assert result.verdict.notes == ("no images available: nothing was verified",)
    rows = {(row.attack, row.metric): row for row in result.rows}
    p_value = rows["backdoor/ladder", "p_value"]
    assert p_value.value is not None and "no images" in (p_value.reason or "") and "calibrated: no" in (p_value.reason or "")
    assert "needs training and test images" in (rows["membership/loss", ""].reason or "")
    assert result.summary()["backdoor"]["word"] in ("cannot tell", "suspicious")
    assert main(["verify", "builtin/digits-regular", "--data", "none", "--cache-dir", str(tmp_path)]) == DONE
    assert "nothing was verified" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"no dataset is recorded; .* or --data none$"):
        securitynet.evaluate(network, preprocessing=facts, cache_dir=tmp_path)
