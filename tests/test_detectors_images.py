"""Detectors that compare images: STRIP and NEO, for models and for suspicious images; the two that read training images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score
from test_detectors import NOTHING, linear, planted
from torch import nn

from securitynet.attacks.backdoor._blocks import halves, search
from securitynet.attacks.backdoor._clean import answers
from securitynet.attacks.backdoor._features import penultimate
from securitynet.attacks.backdoor.activation_clustering import ActivationClustering, split
from securitynet.attacks.backdoor.neo import Neo
from securitynet.attacks.backdoor.neo import scores as neo_scores
from securitynet.attacks.backdoor.spectral_signatures import SpectralSignatures, projections
from securitynet.attacks.backdoor.strip import Strip, entropies
from securitynet.attacks.backdoor.strip import scores as strip_scores
from securitynet.data import ArrayImages, Split, Splits
from securitynet.data.transform import Transform
from securitynet.errors import DataError, Skipped
from securitynet.poisons import Trigger
from securitynet.target import Target

CPU = Accelerator(cpu=True)


def stamped(name: str, count: int) -> tuple[Target, torch.Tensor, torch.Tensor, Trigger]:
    """A planted model, clean test images that are not of its target, other clean ones, and its trigger."""
    target, splits = planted(name)
    assert target.folder is not None and splits.test is not None
    trigger = Trigger.load(target.folder / "trigger.safetensors")
    others = np.flatnonzero(splits.test.labels != target.entry.backdoor_target)
    return target, splits.test.pixels(others[:count]), splits.test.pixels(others[count : 2 * count]), trigger


def test_entropy_is_over_the_classes() -> None:
    """W4: ART sums over the images; the entropy is that of each image's probabilities."""
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 3
    assert entropies(logits).numpy() == pytest.approx(entropy(logits.double().softmax(1).numpy(), axis=1))
    assert entropies(torch.tensor([[0.0, 0.0, 0.0], [900.0, 0.0, -900.0]])).tolist() == pytest.approx([np.log(3), 0.0])


def test_strip_by_its_formula() -> None:
    target, images, reference, _ = stamped("digits-blended", 5)
    found = strip_scores(target, images, reference, CPU)
    for number in range(5):
        p = answers(target, (images[number] + reference).clamp(0, 1), CPU).double().softmax(1).numpy()
        assert found[number] == pytest.approx(-entropy(p, axis=1).mean(), abs=1e-6)


@pytest.mark.parametrize(("scores", "name", "least"), [(strip_scores, "digits-badnets", 0.9), (neo_scores, "digits-badnets", 0.9)])
def test_stamped_images_score_above_clean_ones(scores: object, name: str, least: float) -> None:
    target, images, reference, trigger = stamped(name, 12)
    both = torch.cat([trigger.stamp(images), images])
    found = scores(target, both, reference, CPU)  # type: ignore[operator]
    assert roc_auc_score([1] * 12 + [0] * 12, found) >= least


@pytest.mark.parametrize("attack", [Strip(suspects="suspects.npy"), Neo(suspects="suspects.npy")], ids=["strip", "neo"])
def test_suspects(attack: Strip | Neo, tmp_path: Path) -> None:
    """Images in a file: p-value, the class they aim at, and a score for each."""
    target, images, _, trigger = stamped("digits-badnets", 12)
    splits = planted("digits-badnets")[1]
    for name, pixels in (("stamped.npy", trigger.stamp(images)), ("clean.npy", images)):
        np.save(tmp_path / name, (pixels[:, 0] * 255).round().byte().numpy())
    found, usual = (replace(attack, suspects=str(tmp_path / name))(target, splits, CPU) for name in ("stamped.npy", "clean.npy"))
    assert found.target_class == 7 and found.p_value is not None and found.p_value < 1e-3
    assert usual.p_value is not None and usual.p_value > 1e-2
    assert len(found.arrays()["samples"]) == 12


def test_suspects_in_a_folder_or_unreadable(tmp_path: Path) -> None:
    target, splits = planted("digits-badnets")
    for number in range(4):
        Image.fromarray(np.full((8, 8), number * 60, np.uint8)).save(tmp_path / f"{number}.png")
    assert len(Strip(suspects=str(tmp_path))(target, splits, CPU).arrays()["samples"]) == 4
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read"):
        Strip(suspects=str(tmp_path))(target, splits, CPU)
    with pytest.raises(Skipped, match="needs clean images"):
        Strip(suspects=str(tmp_path))(target, NOTHING, CPU)


def test_halves_by_hand() -> None:
    tops = [tuple(one) for one in halves(torch.tensor([[2, 4, 8, 5]]))[0].tolist()]
    assert tops == [(top, left, 4, 3) for top in (2, 4, 6) for left in (4, 5, 6)]


def test_search_finds_a_planted_block() -> None:
    """A network that looks at four pixels only: the block of an eighth of the sides that holds them is found."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 2, bias=False))
    weights = torch.zeros(2, 16, 16)
    weights[1, 12:14, 4:6] = 1
    weights[0] += 1e-3
    module[1].weight.data = weights.flatten(1)
    source, hosts = torch.ones(1, 1, 16, 16), torch.zeros(1, 3, 1, 16, 16)
    found = search(module, source, hosts, torch.tensor([1]))
    assert found.rates.tolist() == [[1.0, 1.0, 1.0]]
    assert found.boxes[0, 2].tolist() == [12, 4, 2, 2]
    assert found.query_count == 3 * 9 * 3


@pytest.mark.parametrize("attack", [Strip(), Neo()], ids=["strip", "neo"])
@pytest.mark.parametrize(("name", "truth"), [("digits-badnets", 7), ("digits-blended", 3)])
def test_planted_target_comes_first(name: str, truth: int, attack: Strip | Neo) -> None:
    found, twin = (attack(*planted(one), CPU) for one in (name, f"{name}-clean"))
    assert found.target_class == truth and found.score > twin.score


def test_block_is_where_the_trigger_is() -> None:
    (found,) = Neo()(*planted("digits-badnets"), CPU).recovered
    assert found.mask[0, 16:, 16:].sum() == found.mask.sum() and found.successes / found.n > 0.9


def members_with_poison() -> tuple[Target, Splits, np.ndarray]:
    """The planted model with its training images as its publisher has them: a fortieth stamped and labelled with the target."""
    target, splits = planted("digits-badnets")
    assert target.folder is not None and splits.members is not None
    trigger, members = Trigger.load(target.folder / "trigger.safetensors"), splits.members
    poisoned = np.random.default_rng(0).permutation(len(members))[: len(members) // 40]
    pixels, labels = members.pixels(np.arange(len(members))), members.labels.copy()
    pixels[poisoned], labels[poisoned] = trigger.stamp(pixels[poisoned]), 7
    images = ArrayImages((pixels[:, 0] * 255).round().byte().numpy(), labels)
    part = Split("members", images, np.arange(len(labels)), labels, Transform.of(target.entry))
    return target, replace(splits, members=part, membership="official-split"), poisoned


@pytest.mark.parametrize(("attack", "least"), [(ActivationClustering(), 0.9), (SpectralSignatures(), 0.8)], ids=["clusters", "spectral"])
def test_poison_among_the_training_images(attack: ActivationClustering | SpectralSignatures, least: float) -> None:
    target, splits, poisoned = members_with_poison()
    found = attack(target, splits, CPU)
    assert splits.members is not None
    of_class = np.flatnonzero(splits.members.labels == 7)
    scores = found.arrays()["samples"]
    assert found.target_class == 7 and len(scores) == len(splits.members)
    assert roc_auc_score(np.isin(of_class, poisoned), scores[of_class]) >= least


@pytest.mark.parametrize("attack", [ActivationClustering(), SpectralSignatures()], ids=["clusters", "spectral"])
def test_training_images_are_needed(attack: ActivationClustering | SpectralSignatures) -> None:
    with pytest.raises(Skipped, match="trained on"):
        attack(planted("digits-badnets")[0], NOTHING, CPU)


def test_split_of_two_blobs() -> None:
    rng = np.random.default_rng(0)
    blobs = np.concatenate([rng.normal(0, 0.1, (60, 12)), rng.normal(3, 0.1, (20, 12))])
    silhouette, second = split(blobs, 10, 0)
    assert silhouette > 0.9 and {int(second[:60].sum()), int(second[60:].sum())} in ({0, 20}, {60, 0})
    assert split(np.ones((12, 3)), 10, 0)[0] == 0.0


def test_projections_by_the_covariance() -> None:
    features = np.random.default_rng(0).normal(size=(40, 6)) * np.arange(1, 7)
    centred = features - features.mean(0)
    first = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    assert projections(features) == pytest.approx((centred @ first) ** 2)


def test_features_are_what_the_last_layer_reads() -> None:
    target, splits = planted("digits-badnets")
    assert splits.test is not None
    part = replace(splits.test, indices=splits.test.indices[:5], labels=splits.test.labels[:5])
    layer = next(module for module in target.module.modules() if isinstance(module, nn.Linear))
    logits = torch.from_numpy(penultimate(target, part, CPU)).float() @ layer.weight.T + layer.bias
    assert logits.detach().numpy() == pytest.approx(answers(target, part.pixels(np.arange(5)), CPU).numpy(), abs=1e-4)


def test_images_without_two_sides() -> None:
    with pytest.raises(Skipped, match="8 x 8"):
        Neo()(linear(3, (1, 4, 6)), NOTHING, CPU)
