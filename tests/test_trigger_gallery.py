"""Recovered triggers as a picture and a page: the right pixels, answers and numbers, on a page that is harmless."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from planted import planted

from securitynet import cli
from securitynet.errors import UsageError
from securitynet.metrics.masks import intersection_over_union, moved
from securitynet.poisons import Trigger, badnets
from securitynet.report.galleries.images import enlarged
from securitynet.report.galleries.trigger_gallery import TriggerGallery, trigger_gallery
from securitynet.report.galleries.trigger_sheet import SIDE, trigger_sheet, write_triggers
from securitynet.target import Target

NASTY = "<script>alert(1)</script>"


def test_overlap_by_hand() -> None:
    true, found = np.zeros((4, 6)), np.zeros((4, 6))
    true[1:3, 1:3], found[1:3, 2:4] = 1, 0.5
    assert intersection_over_union(found, true) == pytest.approx(1.0 / 5.0)  # two halves of 4 + 2 * 0.5
    assert intersection_over_union(moved(found, true), true) == pytest.approx(2.0 / 4.0)
    assert np.array_equal(moved(np.roll(true, (2, -1), (0, 1)), true), true)
    assert intersection_over_union(np.zeros((2, 2)), np.zeros((2, 2))) == 0


def shown(folder: Path) -> tuple[TriggerGallery, Target, Trigger]:
    """A gallery of the shortcut's own trigger, and of one that turns nothing, whose true one is a patch beside."""
    target, splits = planted()
    true = badnets((3, 8, 8), 2)
    true.save(folder / "trigger.safetensors")
    entry = replace(target.entry, id=f"test/{NASTY}", backdoor="badnets", backdoor_trigger="trigger.safetensors", backdoor_target=4)
    target = replace(target, entry=entry, folder=folder)
    found = Trigger("", torch.zeros(1, 8, 8), torch.ones(3, 8, 8))
    found.mask[:, 6:, 6:] = 1.0
    masks = np.stack([np.full((1, 8, 8), 0.25, np.float32), found.mask.numpy()])
    evidence = {"masks": masks, "patterns": np.ones((2, 3, 8, 8), np.float32), "classes": np.asarray([2, 4]), "attack": np.asarray("a/b")}
    splits = replace(splits, class_names=(*"abcd", NASTY, "f"))
    result: Any = SimpleNamespace(
        entry=entry,
        splits=splits,
        evidence={"x": evidence, "y": {"scores": np.zeros(3)}},
        rows=(),
        verdict=SimpleNamespace(status="suspect", cause="a doubt", notes=()),
    )
    return trigger_gallery(result, target, images=3), target, found


def test_a_gallery(tmp_path: Path) -> None:
    gallery, target, trigger = shown(tmp_path)
    assert [one.target_class for one in gallery.found] == [4, 2], "smallest mask first"
    best, other = gallery.found
    assert best.l1 == pytest.approx(4) and best.pixels == 64 and other.l1 == pytest.approx(16)
    assert best.successes / best.n > 0.9 > other.successes / other.n and best.n > 40
    assert best.overlap == 1 and other.overlap == pytest.approx(1 / 19)
    assert len(best.examples) == 3
    for pair in best.examples:
        pixels = torch.from_numpy(np.array(pair.clean)).permute(2, 0, 1).float() / 255
        before, after = (target.module(x[None]).softmax(1)[0] for x in (pixels, trigger.stamp(pixels)))
        assert int(before.argmax()) == pair.before.prediction != 4 and pair.before.probability == pytest.approx(float(before.max()))
        assert int(after.argmax()) == pair.after.prediction and pair.after.probability == pytest.approx(float(after.max()))
        assert (np.asarray(pair.stamped)[6:, 6:] == 255).all()
        assert np.array_equal(np.asarray(pair.stamped)[:6], np.asarray(pair.clean)[:6])
    assert json.loads(json.dumps(gallery.to_record()))["triggers"][0]["examples"][0]["before"]["prediction"] != 4


def test_the_page_is_harmless_and_whole(tmp_path: Path) -> None:
    gallery, _, _ = shown(tmp_path)
    page = write_triggers(gallery, tmp_path / "page.html").read_text(encoding="utf-8")
    assert NASTY not in page and "&lt;script&gt;" in page and "http://" not in page and "https://" not in page
    sources = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    assert len(sources) == 1 + 2 * (2 + 2 * 3)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(sources[1])))), np.asarray(gallery.found[0].mask))
    assert "not verified" in page and "severity not-looked-at" in page
    assert "a doubt" in page and gallery.found[0].success in page and "intersection over union with the true trigger 1.00" in page


def test_the_sheet_shows_the_pixels(tmp_path: Path) -> None:
    gallery, _, _ = shown(tmp_path)
    pixels = np.asarray(Image.open(write_triggers(gallery, tmp_path / "sheet.png")))
    assert np.array_equal(pixels, np.asarray(trigger_sheet(gallery)))
    wanted = np.asarray(enlarged(gallery.found[0].examples[0].stamped, SIDE).convert("RGB"))
    windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 0], wanted.shape[:2])
    candidates = np.argwhere((windows[:, :, ::17, ::17] == wanted[::17, ::17, 0]).all((2, 3)))
    assert any(np.array_equal(pixels[y : y + len(wanted), x : x + wanted.shape[1]], wanted) for y, x in candidates)


def test_triggers_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    package = "from securitynet.attacks.backdoor"
    code = f"{package}._inversion import InversionSettings\n{package}.neural_cleanse import NeuralCleanse\n"
    attack = tmp_path / "quick.py"
    attack.write_text(code + "VARIANTS = (NeuralCleanse(InversionSettings(steps=6, updates=2, images=32), (1, 4, 7)),)\n")
    arguments = ["triggers", "builtin/digits-badnets", "--cache-dir", str(tmp_path / "cache"), "--attack", str(attack)]
    assert cli.main([*arguments, "--output", str(tmp_path / "out")]) == cli.DONE
    assert "known to be backdoored: badnets" in capsys.readouterr().out
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".html", ".png"]
    assert cli.main([*arguments, "--json"]) == cli.DONE
    assert json.loads(capsys.readouterr().out)["triggers"][0]["n"] > 100
    assert cli.main([*arguments, "--top", "0"]) == cli.USAGE


def test_no_trigger_is_said(tmp_path: Path) -> None:
    target, splits = planted()
    rows = (SimpleNamespace(family="backdoor", value=None, reason="no images"),)
    result: Any = SimpleNamespace(entry=target.entry, splits=splits, evidence={}, rows=rows, verdict=SimpleNamespace(cause=None))
    with pytest.raises(UsageError, match="no trigger was recovered from test/planted: no images"):
        trigger_gallery(result, target)
