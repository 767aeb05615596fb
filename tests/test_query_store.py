"""Each image is sent once per draw, ever: over splits, budgets, runs and processes, through kills and full disks."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from securitynet import store as stores
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.eviction import count_in
from securitynet.meter import Bill, Meter
from securitynet.store import OutputStore, key_of
from securitynet.target import Target, build, query, to_send

ENTRY = Entry(id="test/counted", num_classes=3, input_size=(1, 4, 4))
ACCELERATOR = Accelerator(cpu=True)


class Counted(nn.Module):
    """A fixed linear network that keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 3)
        with torch.no_grad():
            self.inner.weight.copy_(torch.linspace(-1, 1, 48).view(3, 16))
            self.inner.bias.zero_()
        self._shown: list[torch.Tensor] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self._shown.append(pixels.clone())
        return self.inner(pixels.flatten(1))

    @property
    def shown(self) -> int:
        return sum(len(one) for one in self._shown)


def pictures(count: int, first: int = 0) -> np.ndarray:
    pixels = np.zeros((count, 4, 4), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = np.divmod(np.arange(first, first + count), 250)
    return pixels


def split(pixels: np.ndarray, transform: Transform | None = None) -> Split:
    images = ArrayImages(pixels, np.zeros(len(pixels)))
    return Split("some", images, np.arange(len(pixels)), images.labels, transform or Transform((1, 4, 4)))


def target(directory: Path | None, network: nn.Module | None = None) -> Target:
    return replace(build(ENTRY, network or Counted()), cache=ArrayCache(directory))


def asked(one: Target, part: Split, **options: Any) -> np.ndarray:
    return query(one, part, ACCELERATOR, blanks=False, **options).logits


def expected(pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return Counted()(torch.from_numpy(pixels)[:, None].float() / 255).numpy()


def test_overlapping_splits_send_only_what_is_new(tmp_path: Path) -> None:
    network = Counted()
    one = target(tmp_path, network)
    np.testing.assert_allclose(asked(one, split(pictures(70))), expected(pictures(70)), rtol=1e-6)
    np.testing.assert_allclose(asked(one, split(pictures(100, 30))), expected(pictures(100, 30)), rtol=1e-6)
    assert network.shown == 130
    twice = np.concatenate([pictures(3, 200), pictures(3, 200), pictures(2)])
    np.testing.assert_allclose(asked(one, split(twice)), expected(twice), rtol=1e-6)
    assert network.shown == 133 and to_send(one, split(pictures(210))) == 70 + 7


@pytest.mark.parametrize("kept", [True, False])
def test_a_second_target_sends_nothing_where_outputs_are_kept(tmp_path: Path, kept: bool) -> None:
    place = tmp_path if kept else None
    first = asked(target(place), split(pictures(50)))
    network = Counted()
    assert np.array_equal(asked(target(place, network), split(pictures(50)[::-1])), first[::-1])
    assert network.shown == (0 if kept else 50)


def test_other_pixels_another_model_and_another_draw_are_other_outputs(tmp_path: Path) -> None:
    network = Counted()
    one = target(tmp_path, network)
    asked(one, split(pictures(10)))
    asked(one, split(pictures(10), Transform((1, 4, 4), resize=4, crop="squash")))
    assert network.shown == 20
    asked(replace(one, draw=1), split(pictures(10)))
    asked(replace(one, draw=1), split(pictures(10)))
    assert network.shown == 30
    with torch.no_grad():
        network.inner.bias += 1
    asked(target(tmp_path, network), split(pictures(10)))
    assert network.shown == 40


class Decoded:
    """Images that are decoded at every look."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.labels, self.fingerprint, self.looks = pixels, np.zeros(len(pixels), np.int64), "decoded", 0

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> np.ndarray:
        self.looks += 1
        return self.pixels[index]


def test_images_are_decoded_once(tmp_path: Path) -> None:
    images = Decoded(pictures(90))
    part = Split("decoded", images, np.arange(90), images.labels, Transform((1, 4, 4)))
    first = asked(target(tmp_path), part)
    assert images.looks == 90
    network = Counted()
    again = target(tmp_path, network)
    assert to_send(again, part) == 0
    assert np.array_equal(asked(again, part), first)
    assert images.looks == 90 and network.shown == 0


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Failing(Counted):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if len(self._shown) == 5:
                raise ValueError("no answer")
            return super().forward(pixels)

    network = Failing()
    with pytest.raises(ValueError, match="no answer"):
        asked(target(tmp_path, network), split(pictures(100)), batch_size=10)
    network._shown = [torch.empty(0)] * 6
    asked(target(tmp_path, network), split(pictures(100)), batch_size=10)
    assert network.shown == 50


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_query_store as here
def note(module, inputs, output):
    with open(sys.argv[3], "ab", buffering=0) as file:
        file.write(bytes((inputs[0][:, 0, 0, :2] * 255).round().byte().flatten().tolist()))
    time.sleep(float(sys.argv[4]))
network = here.Counted()
network.register_forward_hook(note)  # a hook is no part of what the model is
logits = here.asked(here.target(Path(sys.argv[2]), network), here.split(here.pictures(200)), batch_size=10)
np.testing.assert_allclose(logits, np.load(sys.argv[5]), rtol=1e-5)
"""


def process(tmp_path: Path, seconds: float) -> subprocess.Popen[bytes]:
    np.save(tmp_path / "expected.npy", expected(pictures(200)))
    places = [str(Path(__file__).parent), str(tmp_path / "kept"), str(tmp_path / "noted"), str(seconds), str(tmp_path / "expected.npy")]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *places], env={**os.environ, "OMP_NUM_THREADS": "1"})


def noted(tmp_path: Path) -> np.ndarray:
    """How often each of the 200 images was sent."""
    pairs = np.fromfile(tmp_path / "noted", np.uint8).reshape(-1, 2).astype(int)
    return np.bincount(pairs[:, 0] * 250 + pairs[:, 1], minlength=200)


def test_two_processes_send_no_image_twice(tmp_path: Path) -> None:
    both = [process(tmp_path, 0.02), process(tmp_path, 0.02)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert (noted(tmp_path) == 1).all()


def test_of_a_killed_process_one_batch_at_most_is_sent_again(tmp_path: Path) -> None:
    first = process(tmp_path, 0.1)
    place = tmp_path / "noted"
    for _ in range(600):
        if place.exists() and place.stat().st_size >= 2 * 70:
            break
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert process(tmp_path, 0).wait(120) == 0
    counts = noted(tmp_path)
    assert counts.min() == 1 and counts.sum() <= 210


def test_what_a_killed_process_claimed_becomes_free(tmp_path: Path) -> None:
    slow = process(tmp_path, 2.0)
    for _ in range(600):
        if (tmp_path / "noted").exists():
            break
        time.sleep(0.1)
    killer = threading.Timer(1.0, slow.kill)
    killer.start()
    assert process(tmp_path, 0).wait(120) == 0
    slow.wait()
    killer.join()
    assert noted(tmp_path).min() == 1 and noted(tmp_path).sum() <= 210


def test_a_full_disk_ends_no_run_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = Counted()
    one = target(tmp_path, network)
    asked(one, split(pictures(30)))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stores, "_write", full)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(asked(one, split(pictures(100)), batch_size=10), expected(pictures(100)), rtol=1e-6)
        asked(one, split(pictures(120)), batch_size=10)
    assert network.shown == 120  # what is on the disk is read, what is not is remembered
    assert sum("no longer kept on disk" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("damage", ["cut values", "cut keys", "changed values", "no values", "no keys", "other keys"])
def test_damage_is_never_an_answer(tmp_path: Path, damage: str) -> None:
    asked(target(tmp_path), split(pictures(60)), batch_size=20)
    (values,), (keys,) = tmp_path.glob("*/*.values"), tmp_path.glob("*/*.keys")
    place = values if "values" in damage else keys
    content = place.read_bytes()
    if damage.startswith("no"):
        place.unlink()
    elif damage.startswith("cut"):
        place.write_bytes(content[: len(content) // 2 + 3])
    elif damage == "changed values":
        place.write_bytes(content[:40] + b"\x00\x01\x02\x03" + content[44:])
    else:
        place.write_bytes(b"something else" * 20)
    for _ in range(2):
        np.testing.assert_allclose(asked(target(tmp_path), split(pictures(80))), expected(pictures(80)), rtol=1e-6)
    network = Counted()
    asked(target(tmp_path, network), split(pictures(80)))
    assert network.shown == 0


def test_the_books_that_were_not_used_for_longest_make_room(tmp_path: Path) -> None:
    limit = 40_000
    store = OutputStore(tmp_path, limit)
    images = pictures(100)
    keys = [key_of(image) for image in images]
    for number in range(12):  # of 6,000 bytes each
        book = store.book(f"{number:02d}" * 32)
        book.add(keys, np.full((100, 10), number, np.float32))
        os.utime(next(tmp_path.glob(f"*/{book.name}.values")), (number, number))
        store.wrote(0, last=True)
    files = list(tmp_path.glob("*/*.values")) + list(tmp_path.glob("*/*.keys"))
    assert sum(path.stat().st_size for path in files) <= limit
    assert len(files) % 2 == 0 and not list(tmp_path.glob("00/*.keys")) and list(tmp_path.glob("11/*.keys"))
    kept = OutputStore(tmp_path).book("11" * 32)
    kept.refresh()
    assert (kept.get(keys)[1] == 11).all()
    first = store.book("00" * 32)  # deleted meanwhile: it begins again
    first.refresh()
    assert not first.get(keys)[0].any()
    first.add(keys[:2], np.ones((2, 10), np.float32))
    assert first.get(keys)[0].tolist() == [True, True] + [False] * 98


def test_a_book_that_was_deleted_while_it_is_open(tmp_path: Path) -> None:
    network = Counted()
    one = target(tmp_path, network)
    asked(one, split(pictures(20)))
    count_in(tmp_path, 0, 1)
    assert not list(tmp_path.glob("*/*.values"))
    asked(one, split(pictures(30)))
    assert network.shown == 50
    asked(target(tmp_path, network), split(pictures(30)))
    assert network.shown == 50


def test_the_bill_counts_blanks_and_goes_on_after_an_interruption(tmp_path: Path) -> None:
    one = target(tmp_path)
    one.meter.keep(tmp_path / "bill.jsonl")
    query(one, split(pictures(70)), ACCELERATOR)
    assert (one.meter.bill.images, one.meter.bill.blanks) == (130, 60)  # two batches of 64 and two blanks that try the layout
    later = Meter()
    later.keep(tmp_path / "bill.jsonl")
    later.add(Bill(images=5, requests=1, seconds=1.5, money=0.25))
    with open(tmp_path / "bill.jsonl", "ab") as file:
        file.write(b'{"images": 3')  # a process that was killed
    assert later.bill.images == 135 and later.own.images == 5 and later.bill.money == 0.25 and later.bill.seconds > 1.5


def test_a_directory_that_cannot_be_made_leaves_the_run_without_a_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    book = OutputStore(tmp_path / "file" / "outputs", 1000).book("00" * 32)
    with book.claimed([b"k" * 16]) as mine:
        assert mine.tolist() == [True]
    book.add([b"k" * 16], np.ones((1, 3), np.float32))
    assert book.get([b"k" * 16])[1].tolist() == [[1, 1, 1]]
    assert caplog.text.count("outputs are no longer kept on disk") == 1
