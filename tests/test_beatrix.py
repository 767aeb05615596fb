"""Beatrix: Gram matrices by their definition, layers of every kind of network, planted poison, images at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from sklearn.metrics import roc_auc_score
from test_detectors import NOTHING, planted
from test_detectors_images import members_with_poison, stamped
from torch import nn

from securitynet.attacks.backdoor._gram import Grams, gram, grams, sites
from securitynet.attacks.backdoor._ladder_evidence import LadderEvidence
from securitynet.attacks.backdoor._nulls import combined
from securitynet.attacks.backdoor.beatrix import Beatrix, deviations, unusual
from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.attacks.backdoor.publisher_ladder import SHARE, WEIGHTS, PublisherLadder, differing
from securitynet.data import ArrayImages
from securitynet.entry import Entry
from securitynet.errors import Skipped
from securitynet.target import Target, build

CPU = Accelerator(cpu=True)


def network(module: nn.Module, size: tuple[int, ...], classes: int = 5) -> Target:
    return build(Entry(id="a/b", input_size=size, num_classes=classes), module)


def test_gram_matrices_by_their_definition() -> None:
    maps = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    found = gram(maps, (1, 3)).numpy()
    for image in range(2):
        for at, order in enumerate((1, 3)):
            features = np.maximum(maps[image].double().numpy(), 0) ** order
            whole = np.power([[sum(features[a] * features[b]) for b in range(3)] for a in range(3)], 1 / order)
            assert found[image, at] == pytest.approx(whole[np.triu_indices(3)], rel=1e-6)


def test_deviations_by_hand() -> None:
    """Reference 1, 2, 3, 4, 100: the median is 3, the deviation from it 1, a thousandth of the mean 0.022."""
    reference = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0]).view(5, 1, 1)
    found = deviations(torch.tensor([3.0, 5.044, 1e9]).view(3, 1, 1), reference)
    assert found == pytest.approx(np.log1p([0.0, 2.0, 50.0]), rel=1e-4)


def test_unusual_images_are_measured_by_clean_ones_not_seen_before() -> None:
    """By independent draws of one distribution the mean is zero; a shift of every element by two deviations stands out."""
    draws = torch.randn(1200, 2, 30, generator=torch.Generator().manual_seed(0)).exp()
    usual, same, other = (Grams(torch.zeros(len(part)), (part,)) for part in (draws[:400], draws[400:800], draws[800:] * 2))
    assert abs(unusual(same, usual).mean()) < 0.2 and unusual(other, usual).mean() > 2


@pytest.mark.parametrize(
    ("module", "size", "layers", "axes"),
    [
        (timm.create_model("resnet10t", num_classes=5, in_chans=1), (1, 32, 32), nn.BatchNorm2d, [1, 1]),
        (timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5), (3, 32, 32), nn.LayerNorm, [-1, -1]),
        (timm.create_model("convnext_atto", depths=(1, 1, 1, 1), num_classes=5), (3, 32, 32), nn.LayerNorm, [1, 1]),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)), (3, 8, 8), nn.Conv2d, [1]),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 5)), (3, 4, 4), nn.Linear, [-1]),
    ],
    ids=["batch norms", "transformer", "layer norms, channels first", "convolutions", "linear"],
)
def test_layers_that_are_looked_at(module: nn.Module, size: tuple[int, ...], layers: type, axes: list[int]) -> None:
    target = network(module, size)
    before = {name: value.clone() for name, value in target.module.state_dict().items()}
    found = sites(target, CPU, 6, 0)
    assert [one.axis for one in found] == axes and all(isinstance(one.layer, layers) for one in found)
    assert all(len(one.channels) == 6 for one in found)
    asked = grams(target, torch.rand(3, *size), found, (1, 2), CPU)
    assert asked.answers.shape == (3,) and all(one.shape == (3, 2, 21) and bool(one.isfinite().all()) for one in asked.matrices)
    assert not any(part._forward_hooks for part in target.module.modules())
    assert all(torch.equal(value, before[name]) for name, value in target.module.state_dict().items())


def test_a_lone_layer_has_no_features() -> None:
    with pytest.raises(Skipped, match="no layer before the last"):
        sites(network(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), (3, 4, 4)), CPU, 6, 0)


def test_poison_among_the_training_images() -> None:
    target, splits, poisoned = members_with_poison()
    assert splits.members is not None
    found, clean = Beatrix()(target, splits, CPU), Beatrix()(*planted("digits-badnets"), CPU)
    scores = found.arrays()["samples"]
    looked_at = np.flatnonzero((splits.members.labels == 7) & np.isfinite(scores))
    assert found.target_class == 7 and found.score > 2 * clean.score
    assert roc_auc_score(np.isin(looked_at, poisoned), scores[looked_at]) >= 0.9


def test_classes_with_few_images_have_no_statistic() -> None:
    target, splits = planted("digits-badnets")
    assert splits.members is not None
    few = np.concatenate([np.flatnonzero(splits.members.labels != 3), np.flatnonzero(splits.members.labels == 3)[:7]])
    members = replace(splits.members, indices=splits.members.indices[few], labels=splits.members.labels[few])
    found = Beatrix(per_class=10)(target, replace(splits, members=members), CPU)
    assert list(np.flatnonzero(np.isnan(found.statistics))) == [3] and found.forward <= 2 * 9 * 10
    assert np.isfinite(found.arrays()["samples"]).sum() == 9 * 10
    for missing in (NOTHING, replace(splits, members=None), replace(splits, test=None, non_members=None)):
        with pytest.raises(Skipped, match="trained on"):
            Beatrix()(target, missing, CPU)


def test_suspects(tmp_path: Path) -> None:
    target, images, _, trigger = stamped("digits-badnets", 12)
    splits, found = planted("digits-badnets")[1], []
    for name, pixels in (("stamped.npy", trigger.stamp(images)), ("clean.npy", images)):
        np.save(tmp_path / name, (pixels[:, 0] * 255).round().byte().numpy())
        found.append(Beatrix(suspects=str(tmp_path / name))(target, splits, CPU))
    bad, usual = found
    assert bad.target_class == 7 and bad.p_value is not None and bad.p_value < 1e-3
    assert usual.p_value is not None and usual.p_value > 1e-2
    assert len(bad.arrays()["samples"]) == 12 and bad.forward == 12 + 256 + 256


def test_the_publishers_ladder() -> None:
    """The ladder's stages as they are, with two thirds of the error, and the training images with the last."""
    target, splits, _ = members_with_poison()
    alone, found = Ladder()(target, splits, CPU), PublisherLadder()(target, splits, CPU)
    assert isinstance(found, LadderEvidence) and sum(WEIGHTS.values()) == pytest.approx(1)
    assert [stage.name for stage in found.stages] == [*(stage.name for stage in alone.stages), "backdoor/beatrix"]
    assert [stage.p_value for stage in found.stages[:-1]] == [stage.p_value for stage in alone.stages]
    seen = found.stages[-1]
    assert seen.evidence.target_class == 7 and seen.p_value < 0.02
    assert found.p_value == pytest.approx(combined([alone.p_value, seen.p_value], [1 - SHARE, SHARE]))
    with pytest.raises(Skipped, match="trained on"):
        PublisherLadder()(target, replace(splits, membership="unknown"), CPU)


def test_a_difference_of_training_and_test_images_is_no_backdoor() -> None:
    """Another brightness, wrong labels, few images: what beatrix finds then is the difference, so it is not counted."""
    _, splits = planted("digits-regular")
    members, clean = splits.members, splits.test
    assert members is not None and clean is not None
    usual = np.linspace(-0.1, 0.4, 10)
    assert differing(usual, members, clean, splits) is None, "one class ahead of the others is what a backdoor looks like"
    assert "most classes differ" in str(differing(usual + 0.4, members, clean, splits)), "as wrong labels do"
    pixels = members.pixels(np.arange(len(members))) * 0.8 + 0.1
    brighter = ArrayImages((pixels[:, 0] * 255).round().byte().numpy(), members.labels)
    dim = replace(members, images=brighter, indices=np.arange(len(members)))
    assert "differ by themselves (AUC" in str(differing(usual, dim, clean, splits))
    few = np.arange(200)
    some = replace(members, indices=members.indices[few], labels=members.labels[few])
    assert "fewer than 30" in str(differing(usual, some, clean, splits))


def test_what_is_not_counted_is_not_called_clean() -> None:
    target, splits, _ = members_with_poison()
    assert splits.members is not None
    few = np.arange(150)
    some = replace(splits, members=replace(splits.members, indices=splits.members.indices[few], labels=splits.members.labels[few]))
    found = PublisherLadder()(target, some, CPU)
    (stage,) = [stage for stage in found.stages if stage.name == "backdoor/beatrix"]
    assert not stage.counted and not found.judgement.complete
    assert any("beatrix is not counted: some class has fewer than 30" in str(one.reason) for one in found.metrics())
