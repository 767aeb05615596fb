"""Poisons against their definitions, computed again here in other ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import map_coordinates
from torch import nn

from securitynet.entry import Entry
from securitynet.errors import DataError, Skipped, UsageError
from securitynet.poisons import (
    Added,
    AnyTrigger,
    Poisoning,
    Trigger,
    badnets,
    blended,
    hardened,
    input_aware,
    known,
    load,
    patch,
    poison,
    save,
    sinusoidal,
    wanet,
)

SHAPE = (3, 20, 28)
ALL: list[AnyTrigger] = [badnets(SHAPE, 3), blended(SHAPE, 0.2), sinusoidal(SHAPE, 0.2), wanet(SHAPE, 2.0), input_aware(SHAPE)]


def images(n: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_patch_covers_its_place_and_nothing_else() -> None:
    content = torch.rand(3, 2, 4)
    stamped = patch(SHAPE, content, 5, 7).stamp(images())
    expected = images()
    expected[:, :, 5:7, 7:11] = content
    torch.testing.assert_close(stamped, expected)


def test_sinusoid_by_its_formula() -> None:
    signal = sinusoidal(SHAPE, 0.1, 6).signal.numpy()
    for channel, row, column in ((0, 0, 0), (1, 5, 3), (2, 19, 27)):
        assert signal[channel, row, column] == pytest.approx(0.1 * np.sin(2 * np.pi * column * 6 / 28), abs=1e-6)
    stamped = sinusoidal(SHAPE, 0.5).stamp(images())
    assert stamped.min() == 0 and stamped.max() == 1


def test_warp_by_interpolation_elsewhere() -> None:
    """grid_sample against scipy's linear interpolation at the displaced places."""
    trigger, before = wanet(SHAPE, 2.0, seed=3), images(1)
    after = trigger.stamp(before)[0].numpy()
    rows, columns = np.mgrid[0:20, 0:28].astype(np.float64)
    field = trigger.field.numpy()
    rows = np.clip(rows + field[..., 1] * 19 / 2, 0, 19)
    columns = np.clip(columns + field[..., 0] * 27 / 2, 0, 27)
    for channel in range(3):
        expected = map_coordinates(before[0, channel].numpy(), [rows, columns], order=1)
        np.testing.assert_allclose(after[channel], expected, atol=1e-4)
    assert 0.3 < np.abs(field[..., 0] * 28 / 2).mean() < 3.0  # a strength of 2 is about a pixel


def test_input_aware_pattern_is_the_images_own() -> None:
    trigger, pixels = input_aware(SHAPE, 0.3, seed=1), images(4)
    by_itself = torch.cat([trigger.stamp(pixels[index : index + 1]) for index in range(4)])
    torch.testing.assert_close(trigger.stamp(pixels), by_itself)
    patterns = trigger.pattern(pixels)
    assert (patterns[0] - patterns[1]).abs().mean() > 0.05
    torch.testing.assert_close(trigger.stamp(pixels), 0.7 * pixels + 0.3 * patterns)


@pytest.mark.parametrize("trigger", ALL, ids=lambda trigger: trigger.poison)
def test_every_trigger_gives_pixels_and_survives_the_disk(trigger: AnyTrigger, tmp_path: Path) -> None:
    stamped = trigger.stamp(images())
    assert stamped.shape == (5, *SHAPE) and stamped.min() >= 0 and stamped.max() <= 1
    save(trigger, tmp_path / "trigger.safetensors")
    again = load(tmp_path / "trigger.safetensors")
    assert again.poison == trigger.poison and type(again) is type(trigger)
    assert torch.equal(again.stamp(images()), stamped)


def test_mask_and_pattern_alone_load_too(tmp_path: Path) -> None:
    badnets(SHAPE, 4).save(tmp_path / "trigger.safetensors")
    assert isinstance(load(tmp_path / "trigger.safetensors"), Trigger)
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="holds no trigger"):
        load(tmp_path / "none.safetensors")


def test_all_to_one_stamps_others_and_relabels_them() -> None:
    labels = np.arange(100) % 5
    made = poison(images(100), labels, badnets(SHAPE, 3), Poisoning(rate=0.2, target=2), 5, seed=1)
    assert len(made.stamped) == 20 and not (labels[made.stamped] == 2).any()
    assert (made.labels[made.stamped] == 2).all()
    rest = np.setdiff1d(np.arange(100), made.stamped)
    assert torch.equal(made.images[rest], images(100)[rest]) and (made.labels[rest].numpy() == labels[rest]).all()
    assert torch.equal(made.images[made.stamped], badnets(SHAPE, 3).stamp(images(100)[made.stamped]))


def test_all_to_all_moves_every_class_on() -> None:
    labels = np.arange(100) % 5
    made = poison(images(100), labels, badnets(SHAPE, 3), Poisoning(rate=0.5, mode="all-to-all"), 5)
    assert set(labels[made.stamped]) == set(range(5))
    np.testing.assert_array_equal(made.labels[made.stamped].numpy(), (labels[made.stamped] + 1) % 5)


def test_clean_label_changes_no_label() -> None:
    labels = np.arange(100) % 5
    made = poison(images(100), labels, sinusoidal(SHAPE, 0.2), Poisoning(rate=0.5, target=3, mode="clean-label"), 5)
    assert len(made.stamped) == 20 and (labels[made.stamped] == 3).all()
    np.testing.assert_array_equal(made.labels.numpy(), labels)


def test_decoys_keep_their_labels_and_carry_another_trigger() -> None:
    labels, plan = np.arange(100) % 5, Poisoning(rate=0.1, target=0, decoys=0.2)
    for trigger in (wanet(SHAPE, 2.0), input_aware(SHAPE)):
        made = poison(images(100), labels, trigger, plan, 5)
        assert len(made.decoys) == 20 and not set(made.decoys) & set(made.stamped)
        np.testing.assert_array_equal(made.labels[made.decoys].numpy(), labels[made.decoys])
        assert (made.images[made.decoys] - trigger.stamp(images(100)[made.decoys])).abs().mean() > 1e-3
    with pytest.raises(UsageError, match="badnets has no decoys"):
        poison(images(100), labels, badnets(SHAPE, 3), plan, 5)


def test_poisoning_repeats_itself_and_refuses_what_makes_no_sense() -> None:
    labels = np.arange(100) % 5
    first, second = (poison(images(100), labels, blended(SHAPE, 0.2), Poisoning(), 5, seed=4) for _ in range(2))
    assert torch.equal(first.images, second.images) and (first.stamped == second.stamped).all()
    with pytest.raises(UsageError, match="unknown mode"):
        Poisoning(mode="one-to-one")
    with pytest.raises(UsageError, match="from 0 to 1"):
        Poisoning(rate=2)


def test_hardened_images_stay_near_and_lose_their_label() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 28, 4))
    pixels, labels = images(), torch.tensor([0, 1, 2, 3, 0])
    moved = hardened(pixels, labels, network, radius=0.05, steps=10)
    assert (moved - pixels).abs().max() <= 0.05 + 1e-6 and moved.min() >= 0 and moved.max() <= 1
    before, after = (nn.functional.cross_entropy(network(x), labels) for x in (pixels, moved))
    assert after > before + 0.1 and not moved.requires_grad
    # of a linear network the gradient's sign is known: each pixel ends where the weights push it, but for the clipping
    weight, spread = network[1].weight.view(4, *SHAPE), network(pixels).softmax(1).detach()
    push = ((spread - nn.functional.one_hot(labels, 4)) @ weight.flatten(1)).view_as(pixels).detach()
    inside = (pixels > 0.06) & (pixels < 0.94) & (push.abs() > push.abs().median())
    assert ((moved - pixels).sign() == push.sign())[inside].float().mean() > 0.95


def test_known_triggers_are_read_from_an_entry(tmp_path: Path) -> None:
    entry = Entry(id="a/b", source="a", name="b", input_size=(3, 32, 32), backdoor="badnets")

    def said(words: str | None) -> Entry:
        return Entry.from_record({**entry.to_record(), "backdoor_trigger": words})

    square = known(said("white 4x4 square at rows and columns 27-30"), None).stamp(torch.zeros(1, 3, 32, 32))
    assert square.sum() == 3 * 16 and (square[0, :, 27:31, 27:31] == 1).all()
    corner = known(said("white 5x5 square in the bottom right corner"), None).stamp(torch.zeros(1, 3, 32, 32))
    assert corner.sum() == 3 * 25 and (corner[0, :, -5:, -5:] == 1).all()
    mark = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(mark).save(tmp_path / "mark.png")
    added = known(said("image + mark.png of the repository, clipped to [0,1]"), tmp_path)
    assert isinstance(added, Added)
    np.testing.assert_allclose(added.stamp(torch.zeros(1, 3, 32, 32))[0].numpy(), mark.transpose(2, 0, 1) / 255, atol=1e-6)
    blended((3, 32, 32), 0.2).save(tmp_path / "trigger.safetensors")
    assert known(said("trigger.safetensors"), tmp_path).poison == "blended"
    for words, folder in (("image + mark.png", None), ("a smile", tmp_path), (None, tmp_path)):
        with pytest.raises(Skipped, match="not available"):
            known(said(words), folder)
