"""Label-only attacks on models whose boundary is known, queries counted; a blind control on planted shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from securitynet.attacks.membership._perturbed import Noisy, Shifted
from securitynet.attacks.membership.augmentation import Augmentation
from securitynet.attacks.membership.boundary import Boundary, Labels
from securitynet.attacks.membership.noise import Noise
from securitynet.controls.blind import blind
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import Skipped
from securitynet.results.separation import SEPARABLE
from securitynet.target import Target, build

ENTRY = Entry(id="test/plane", num_classes=2, input_size=(1, 6, 6))


class Plane(nn.Module):
    """Two classes divided by a plane: the distance of x to the boundary is |w . x + b| / |w|."""

    def __init__(self, grid: int = 6, side: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        w = torch.randn(1, 1, grid, grid, generator=generator)
        self.w = nn.Parameter(nn.functional.interpolate(w, size=(side, side), mode="bilinear").flatten())
        self.b = nn.Parameter(-self.w.detach().sum() / 2)
        self.query_count = 0

    def margin(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.w + self.b

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.query_count += len(x)
        return torch.stack([-self.margin(x), self.margin(x)], 1)


def plane(n: int = 300) -> tuple[Target, Plane, Splits]:
    network = Plane()
    pixels = np.random.default_rng(0).integers(60, 196, (2 * n, 6, 6), dtype=np.uint8)
    labels = (network.margin(torch.from_numpy(pixels).float()[:, None] / 255) > 0).long().numpy()
    images = ImageSet("plane", ArrayImages(pixels[:n], labels[:n]), ArrayImages(pixels[n:], labels[n:]))
    return build(ENTRY, network), network, draw(images, Transform.of(ENTRY), 2)


def test_boundary_distance_is_close_to_the_true_one_and_queries_are_counted() -> None:
    target, network, splits = plane()
    attack = Boundary(images=100, iterations=4, directions=40)
    evidence = attack(target, splits, Accelerator())
    assert splits.members is not None
    rows = np.sort(np.random.default_rng(0).permutation(300)[:100])
    with torch.no_grad():
        true = (network.margin(splits.members.pixels(rows)).abs() / network.w.norm()).double().numpy()
    assert (evidence.members >= true - 1e-4).all()  # an image labelled otherwise is never nearer than the boundary
    assert np.corrcoef(evidence.members, true)[0, 1] > 0.9
    assert np.median(evidence.members / true) < 1.6
    most = attack.search + attack.iterations * (attack.directions + attack.search)
    assert 200 < evidence.queries <= 200 * (1 + most)


def test_the_walk_keeps_to_the_noise_that_brings_it_nearer() -> None:
    """Planes whose normal is smooth, and planes whose normal is not: coarse noise serves the first, fine noise the second."""
    pixels = np.random.default_rng(1).integers(60, 196, (80, 24, 24), dtype=np.uint8)
    for side, coarse_is_better in ((4, True), (24, False)):
        network = Plane(side, 24)
        labels = (network.margin(torch.from_numpy(pixels).float()[:, None] / 255) > 0).long().numpy()
        parts = ArrayImages(pixels[:40], labels[:40]), ArrayImages(pixels[40:], labels[40:])
        entry = Entry(id="test/plane", num_classes=2, input_size=(1, 24, 24))
        target, splits = build(entry, network), draw(ImageSet("plane", *parts), Transform((1, 24, 24)), 2)
        coarse, fine, both = (
            float(np.median(Boundary(grids=grids, iterations=6)(target, splits, Accelerator()).members)) for grids in ((4,), (24,), (4, 24))
        )
        assert (coarse < 0.8 * fine) if coarse_is_better else (fine < 0.8 * coarse)
        assert abs(both - min(coarse, fine)) < abs(both - max(coarse, fine))


def test_every_query_of_the_boundary_attack_is_counted() -> None:
    target, network, splits = plane()
    accelerator = Accelerator()
    attack = Boundary(images=50, iterations=2)
    attack(target, splits, accelerator)  # fills the cache of the shared pass
    network.query_count = 0
    evidence = attack(target, splits, accelerator)
    assert evidence.queries == network.query_count + 100  # the plain answers of the 100 images came from the cache


def test_wrong_images_have_distance_zero_and_constant_models_are_skipped() -> None:
    target, network, splits = plane()
    assert splits.members is not None
    splits.members.labels[:] = 1 - splits.members.labels
    evidence = Boundary(images=50, iterations=1)(target, splits, Accelerator())
    assert (evidence.members == 0).all() and (evidence.non_members > 0).all()
    splits.members.labels[:] = 1 - splits.members.labels
    with torch.no_grad():
        network.b += 1e3
    with pytest.raises(Skipped, match="constant predictor"):
        Boundary(images=10)(build(ENTRY, network), _labelled(splits, 1), Accelerator())


def _labelled(splits: Splits, label: int) -> Splits:
    for part in (splits.members, splits.non_members):
        assert part is not None
        part.labels[:] = label
    return splits


def test_labels_oracle_counts() -> None:
    target, network, _ = plane()
    oracle = Labels(target, Accelerator())
    network.query_count = 0
    oracle.differ(torch.rand(1500, 1, 6, 6), torch.zeros(1500, dtype=torch.long))
    assert oracle.query_count == network.query_count == 1500


@pytest.mark.parametrize(("attack", "copies"), [(Augmentation(shift=2), 8), (Augmentation(1, flip=True), 5), (Noise((0.1, 0.3), 3), 6)])
def test_share_right_is_a_share_and_counts_queries(attack: Any, copies: int) -> None:
    target, _, splits = plane()
    evidence = attack(target, splits, Accelerator())
    assert evidence.queries == 600 * (copies + 1)
    scaled = evidence.members * (copies + 1)
    assert np.allclose(scaled, scaled.round()) and 0 <= evidence.members.min() <= evidence.members.max() <= 1
    assert evidence.members.std() > 0


def test_shifted_and_noisy_show_the_model_what_they_say() -> None:
    x = torch.arange(12.0).view(1, 1, 3, 4)
    moved = Shifted(nn.Identity(), 1, -1)(x)
    assert torch.equal(moved[0, 0], torch.tensor([[1.0, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]]))
    assert torch.equal(Shifted(nn.Identity(), flip=True)(x), x.flip(-1))
    noisy = Noisy(nn.Identity(), (1, 30, 30), 0.1, seed=1)
    grey = torch.full((2, 1, 30, 30), 0.5)
    assert noisy(grey).sub(0.5).std().item() == pytest.approx(0.1, rel=0.1) and torch.equal(noisy(grey)[0], noisy(grey)[1])


def layout(splits: Splits) -> tuple[float, bool]:
    """Return the AUC of the layout of the images, and whether all of its interval lies above 0.53."""
    area = blind(splits)["layout"][0]
    assert area.value is not None and area.ci_low is not None
    return area.value, area.ci_low > SEPARABLE


def test_a_planted_shift_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 200, (1200, 8, 8), dtype=np.uint8), rng.integers(0, 2, 1200)
    transform = Transform((1, 8, 8))
    alarms = 0
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(1200)
        fair = ImageSet("fair", ArrayImages(pixels[order[:600]], labels[:600]), ArrayImages(pixels[order[600:]], labels[600:]))
        alarms += layout(draw(fair, transform, 2))[1]
    assert alarms == 0
    brighter = ImageSet("shifted", ArrayImages(pixels[:600], labels[:600]), ArrayImages(pixels[600:] + np.uint8(12), labels[600:]))
    value, separable = layout(draw(brighter, transform, 2))
    assert separable and value > 0.7


def test_mnist_by_writer_is_separable_and_fashion_mnist_is_not(real: Any) -> None:
    from securitynet.data.readers import image_set

    archive = np.load(real / "datasets" / "mnist_16k_train_10k_test.npz")
    first = archive["train_index"] < 54000
    parts = [ArrayImages(archive["x_train"][mask], archive["y_train"][mask]) for mask in (first, ~first)]
    by_writer = layout(draw(ImageSet("MNIST", *parts), Transform((1, 28, 28)), 10))
    assert by_writer[1]
    entry = Entry(id="test/fashion", dataset="Fashion-MNIST", num_classes=10, input_size=(1, 28, 28))
    fashion = layout(draw(image_set(entry, data=real / "datasets" / "fashion-mnist"), Transform((1, 28, 28)), 10))
    assert not fashion[1]
