"""The most exposed training images: the right ones, as they are, on a page that is whole and harmless."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memorised import NAMES, evaluated
from PIL import Image

from securitynet import cli
from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.errors import UsageError
from securitynet.report.galleries import contact_sheet as contact
from securitynet.report.galleries.exposed import gallery
from securitynet.report.galleries.images import enlarged, picture
from securitynet.results.result import Result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return evaluated(folder)


def test_the_most_exposed_images(result: Result) -> None:
    shown = gallery(result, "membership/loss", 7)
    table = result.scores("membership/loss")
    best = table[table["member"]].sort_values("score", ascending=False, kind="stable").head(7)
    assert [one.index for one in shown.images] == best["index"].tolist()
    assert [one.fpr for one in shown.images] == pytest.approx(best["fpr"].tolist())
    assert [one.label for one in shown.images] == best["label"].tolist()
    members = result.splits.members
    assert members is not None and isinstance(members.images, ArrayImages)
    logits = torch.from_numpy(result.outputs["members"].logits)
    for one, image in zip(shown.images, shown.pictures, strict=True):
        assert one.label_name == NAMES[one.label] and one.prediction_name == NAMES[one.prediction]
        answer = logits[list(members.indices).index(one.index)].double().softmax(0)
        assert one.probability == pytest.approx(float(answer.max())) and one.prediction == int(answer.argmax())
        assert np.array_equal(np.asarray(image), members.images.pixels[one.index])
    assert len(gallery(result, top=1000).images) == 200
    with pytest.raises(UsageError, match="at least 1"):
        gallery(result, top=0)


def test_the_page_is_whole_and_harmless(result: Result) -> None:
    shown = gallery(result, top=200)
    page = shown.page()
    assert "<script" not in page and "<b>x" not in page and "http://" not in page and "https://" not in page
    assert page.count("&lt;script&gt;") >= sum(one.label == 0 for one in shown.images) > 0
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 200
    for source, image in zip(sources, shown.pictures, strict=True):
        decoded = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"))))
        assert np.array_equal(np.asarray(decoded), np.asarray(image))


def test_the_sheet_shows_the_pixels(result: Result) -> None:
    shown = gallery(replace(result, rows=tuple(replace(row, status="suspect", reason="a doubt " * 30) for row in result.rows)), top=5)
    assert shown.doubt is not None
    pixels = np.asarray(contact.sheet(shown))
    wanted = np.asarray(enlarged(shown.pictures[0], contact.SIDE).convert("RGB"))
    assert wanted.shape == (132, 110, 3)  # six by five, 22 times
    left = contact.MARGIN + (contact.SIDE - 110) // 2
    tops = [top for top in range(contact.MARGIN, 300) if np.array_equal(pixels[top : top + 132, left : left + 110], wanted)]
    assert len(tops) == 1 and pixels.shape[1] >= contact.NARROWEST


@pytest.mark.parametrize(
    ("image", "mode", "size"),
    [
        (np.zeros((4, 5), np.uint8), "L", (5, 4)),
        (np.zeros((4, 5, 1), np.uint8), "L", (5, 4)),
        (np.zeros((4, 5, 3), np.uint8), "RGB", (5, 4)),
        (np.zeros((4, 5, 4), np.uint8), "RGB", (5, 4)),
        (Image.new("P", (700, 300)), "RGB", (700, 300)),
    ],
)
def test_pictures_of_all_kinds(image: Any, mode: str, size: tuple[int, int]) -> None:
    class One:
        labels, fingerprint = np.zeros(1, int), ""

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            return image

    seen = picture(Split("members", One(), np.zeros(1, int), np.zeros(1, int), Transform((1, 4, 5))), 0)
    assert (seen.mode, seen.size) == (mode, size)
    assert max(enlarged(seen, 132).size) in (130, 132)


def test_exposed_on_the_command_line(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["exposed", "builtin/digits-overfit", "--cache-dir", str(folder), "--top", "4"]
    assert cli.main([*arguments, "--json"]) == cli.DONE
    listed = json.loads(capsys.readouterr().out)
    assert not list(tmp_path.iterdir())
    assert [set(one) >= {"index", "label", "score", "fpr"} for one in listed["images"]] == [True] * 4
    assert cli.main([*arguments, "--output", "sheets"]) == cli.DONE
    assert "4 most exposed of 898" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == [
        "builtin-digits-overfit-exposed.html",
        "builtin-digits-overfit-exposed.png",
    ]
    assert cli.main([*arguments[:2], "--top", "0"]) == cli.USAGE
    assert cli.main([*arguments, "--attack", "membership/los"]) == cli.USAGE
