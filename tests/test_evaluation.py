"""evaluate() on a module of one's own: rows, cache, resume, attacks and defences from files and packages."""

from __future__ import annotations

import inspect
import io
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import roc_auc_score
from torch import nn

import securitynet
from securitynet.attacks.membership import ANSWERABLE
from securitynet.attacks.resolve import code_of, names, resolve
from securitynet.cli._tables import result_view
from securitynet.data import ArrayImages, ImageSet
from securitynet.errors import DataError, LoadError, UsageError
from securitynet.results.row import KEY, Row, row_features
from securitynet.results.store import read_rows

PREPROCESSING: dict[str, Any] = {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.5] * 3}
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (600, 8, 8, 3), dtype=np.uint8), rng.integers(0, 4, 600)
    return ImageSet("noise", ArrayImages(pixels[:300], labels[:300]), ArrayImages(pixels[300:], labels[300:]))


@pytest.fixture(scope="module")
def trained(images: ImageSet) -> nn.Module:
    """A network that has learned its 300 random training images by heart."""
    assert isinstance(images.train, ArrayImages)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 4))
    x = torch.from_numpy(images.train.pixels).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(x), torch.from_numpy(images.train.labels)).backward()
        optimiser.step()
    return module.eval()


def run(module: nn.Module, images: Any, tmp_path: Path, **options: Any) -> securitynet.Result:
    given: Mapping[str, Any] = {"preprocessing": PREPROCESSING, "cache_dir": tmp_path, **options}
    return securitynet.evaluate(module, images, **given)


def test_every_auc_follows_from_the_saved_outputs(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    result = run(trained, images, tmp_path)
    folder = result.save(tmp_path / "saved")
    saved = np.load(folder / "outputs.npz")
    logits = np.concatenate([saved["members_logits"], saved["non_members_logits"]]).astype(np.float64)
    labels = np.concatenate([saved["members_labels"], saved["non_members_labels"]])
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    rows, member = np.arange(600), np.repeat([1, 0], 300)
    by_hand = {
        "membership/loss": log_p[rows, labels],
        "membership/confidence": np.exp(log_p[rows, labels]),
        "membership/correctness": logits.argmax(1) == labels,
        "membership/entropy": (np.exp(log_p) * log_p).sum(1),
    }
    for attack, score in by_hand.items():
        assert result.value(attack, "auc") == pytest.approx(roc_auc_score(member, score), abs=1e-9)
    assert (result.value("membership/loss", "auc") or 0) > 0.9
    assert result.value("verify", "test_accuracy") == pytest.approx((logits.argmax(1) == labels)[300:].mean())
    held_out = [row for row in result.rows if row.attack == "membership/loss" and json.loads(row.params)["held_out"]]
    assert held_out and all(row.n is None or row.n <= 300 for row in held_out)
    assert read_rows(folder / "rows.jsonl") == list(result.rows)


def test_a_repeated_evaluation_asks_nothing_and_gives_the_same_rows(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    first = run(trained, images, tmp_path)
    asked: list[int] = []
    hook = trained.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    try:
        assert run(trained, images, tmp_path).to_pandas().drop(columns="date").equals(first.to_pandas().drop(columns="date"))
        assert not asked
        run(trained, images, tmp_path / "other")
        assert sum(asked) == 2 * (320 + 2) + 3 * 8  # each split of 300 once, in five batches of 64; blank images for the estimate of time
    finally:
        hook.remove()


def test_batches_shrink_until_they_fit_into_memory(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    sizes: list[int] = []

    def limited(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if sizes[-1] > 20:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    whole = run(trained, images, tmp_path / "whole", attacks="membership/loss", batch_size=16)
    hook = trained.register_forward_pre_hook(limited)
    try:
        found = run(trained, images, tmp_path, attacks="membership/loss", batch_size=64)
    finally:
        hook.remove()
    assert sizes.count(64) == sizes.count(32) == 2 and np.array_equal(found.outputs["test"].logits, whole.outputs["test"].logits)


def test_changed_weights_are_another_model(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    first = run(trained, images, tmp_path, attacks="membership/loss")
    last = trained[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias[0] += 1.0
    try:
        second = run(trained, images, tmp_path, attacks="membership/loss")
    finally:
        with torch.no_grad():
            last.bias[0] -= 1.0
    assert first.rows[0].weights_sha256 != second.rows[0].weights_sha256
    assert not np.array_equal(first.outputs["members"].logits, second.outputs["members"].logits)


def test_rows_carry_their_schema(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    result = run(trained, images, tmp_path)
    table = result.to_dataset()
    assert table.features == row_features() and len(table) == len(result.rows)
    assert len({row.row_id for row in result.rows}) == len(result.rows)
    for row in result.rows:
        assert (row.value is None) == (row.status == "skipped") and (row.value is not None or row.reason)
        assert row.manifest == result.splits.manifest and row.processes == 1 and json.loads(row.versions or "")["torch"]
        assert Row.from_record(row.to_record()) == row
    assert KEY == ("entry", "weights_sha256", "dataset", "manifest", "attack", "params", "seed", "metric")


def test_an_interrupted_evaluation_goes_on(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    calls: list[str] = []

    def evaluate(stop: bool) -> securitynet.Result:
        class Stopping:
            name = "my/stopping"
            __dataclass_fields__: ClassVar[dict[str, Any]] = {}

            def __call__(self, target: Any, splits: Any, accelerator: Any) -> Any:
                calls.append("stopping")
                if stop:
                    raise KeyboardInterrupt
                return resolve("membership/loss")[0](target, splits, accelerator)

        return run(trained, images, tmp_path, attacks=["membership/mlp", Stopping()])

    with pytest.raises(KeyboardInterrupt):
        evaluate(stop=True)
    (segment,) = tmp_path.rglob("00000.jsonl")
    stored = segment.read_bytes()
    assert b'"attack": "membership/mlp"' in stored
    result = evaluate(stop=False)
    assert calls == ["stopping", "stopping", *["stopping"] * 2]  # then on both networks of the out-model
    assert len({row.row_id for row in result.rows}) == len(result.rows)
    assert segment.read_bytes().startswith(stored)  # what was there is not computed again


def test_a_failing_attack_costs_one_row(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    attack = tmp_path / "broken.py"
    attack.write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Broken:\n"
        "    def __call__(self, target, splits, accelerator):\n        raise ValueError('two\\nlines')\n"
    )
    result = run(trained, images, tmp_path, attacks=[attack, "membership/loss"])
    failed = [row for row in result.rows if row.status == "failed"]
    assert [row.reason for row in failed] == ["ValueError: two lines"]
    assert result.value("membership/loss", "auc") is not None


def blocks(page: str) -> dict[str, str]:
    """The Python blocks of a page by the file name in their first line."""
    found = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, re.DOTALL)
    return dict(found)


def test_the_page_on_own_attacks_runs(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    code = blocks((ROOT / "docs" / "own-attack.md").read_text(encoding="utf-8"))
    limits = {"my_attack.py": 15, "my_detector.py": 30, "my_defence.py": 30}
    assert code.keys() == limits.keys()
    for name, text in code.items():
        assert len(text.splitlines()) < limits[name]
        (tmp_path / name).write_text(text)
    attacks = [tmp_path / "my_attack.py", tmp_path / "my_detector.py"]
    plain = run(trained, images, tmp_path, attacks=attacks)
    assert plain.value("my_attack/LargestLogit", "auc") is not None
    assert next(row for row in plain.rows if (row.attack, row.metric) == ("my_attack/LargestLogit", "auc")).ci_method == "DeLong"
    assert 0.25 <= (plain.value("my_detector/NoiseShares", "largest_share") or 0) <= 1
    defended = run(trained, images, tmp_path, attacks="membership/loss", defences=[tmp_path / "my_defence.py"])
    assert defended.entry.id.endswith("+my_defence")
    levels = np.exp(defended.outputs["members"].logits.astype(np.float64)) * 100
    assert np.allclose(levels, levels.round(), atol=1e-3)


def test_entry_points_of_an_installed_package(
    trained: nn.Module, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "third_party.py").write_text(
        "SUITES = ('standard',)\n" + blocks((ROOT / "docs" / "own-attack.md").read_text())["my_attack.py"]
    )
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[securitynet.attacks]\nmembership/largest-logit = third_party\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert "membership/largest-logit" in names()
        assert [type(attack).__name__ for attack in resolve("membership/largest-logit")] == ["LargestLogit"]
        assert any(type(attack).__name__ == "LargestLogit" for attack in resolve("standard"))
        result = run(trained, images, tmp_path, attacks="membership/largest-logit")
        assert result.value("membership/largest-logit", "auc") is not None and result.value("control/layout", "auc") is not None
    finally:
        sys.modules.pop("third_party", None)


def test_the_code_of_an_attack_is_all_that_it_draws_on(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, boundary = (resolve(f"membership/{name}")[0] for name in ("loss", "boundary"))
    before = code_of(loss), code_of(boundary)
    source = inspect.getsource
    edited = {"securitynet.attacks.membership._formulas", "securitynet.attacks.membership.boundary"}
    monkeypatch.setattr(inspect, "getsource", lambda module: source(module) + "#" * (module.__name__ in edited))
    assert code_of(loss) != before[0] and code_of(boundary) != before[1]
    edited.discard("securitynet.attacks.membership._formulas")
    assert code_of(loss) == before[0] and code_of(boundary) != before[1]
    edited |= {"securitynet.metrics.intervals"}
    assert code_of(loss) != before[0]


def test_names_suites_and_globs_resolve() -> None:
    standard = resolve("standard")
    assert resolve("membership:standard") == standard and set(resolve("membership/*")) > set(standard)
    assert [type(attack).__name__ for attack in resolve("membership/*entropy")] == ["Entropy", "ModifiedEntropy"]
    with pytest.raises(UsageError, match="membership/loss"):
        resolve("membership/los")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"preprocessing": {"mean": [0.5]}}, UsageError, "input_size is missing"),
        ({"preprocessing": {**PREPROCESSING, "meen": [0.5]}}, UsageError, "mean"),
        ({"preprocessing": {**PREPROCESSING, "num_classes": 9}}, LoadError, "returns 4 values per image, the entry says 9"),
        ({"preprocessing": {**PREPROCESSING, "num_classes": 3}}, DataError, "labels run from 0 to 3"),
        ({"attacks": []}, UsageError, "no attack was named"),
    ],
)
def test_bad_input_is_named(
    trained: nn.Module, images: ImageSet, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(trained, images, tmp_path, **change)


def test_not_a_number_makes_the_model_suspect_and_attacks_skip(images: ImageSet, tmp_path: Path) -> None:
    class Broken(nn.Module):
        num_classes = 4

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :4] / 0

    result = run(Broken(), images, tmp_path)
    assert result.verdict.status == "suspect" and "not finite" in str(result.verdict.cause)
    assert {row.status for row in result.rows if row.family == "membership"} == {"skipped"}


def test_batches_are_halved_where_memory_does_not_suffice(images: ImageSet, tmp_path: Path) -> None:
    class Large(nn.Module):
        num_classes = 4
        sizes: ClassVar[list[int]] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.sizes.append(len(x))
            if len(x) > 8:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return x.flatten(1)[:, :4]

    result = run(Large(), images, tmp_path, attacks="membership/loss", batch_size=32)
    assert result.value("membership/loss", "auc") is not None
    assert {8, 16, 32} <= set(Large.sizes)


def test_unknown_membership_and_missing_splits_skip_with_words(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    unknown = ImageSet("noise", images.train, images.test, membership="unknown")
    reasons = {row.reason for row in run(trained, unknown, tmp_path, attacks="membership/loss").rows if row.family == "membership"}
    assert reasons == {f"it is not known which images of noise the model was trained on{ANSWERABLE}"}
    assert all(name in ANSWERABLE for name in ("membership/usage", "membership/folder"))
    only_test = run(trained, ImageSet("noise", None, images.test), tmp_path, attacks="membership/loss")
    assert [row.reason for row in only_test.rows if row.family == "membership"] == [
        "needs training and test images: no training images available"
    ]


def test_arrays_of_ones_own_are_members_and_non_members_as_named(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    assert isinstance(images.train, ArrayImages) and isinstance(images.test, ArrayImages)
    data = {"x_train": images.train.pixels, "y_train": images.train.labels, "x_test": images.test.pixels, "y_test": images.test.labels}
    result = run(trained, data, tmp_path, attacks="membership/loss")
    assert (result.value("membership/loss", "auc") or 0) > 0.9
    assert result.value("verify", "train_accuracy") == run(trained, images, tmp_path, attacks="membership/loss").value(
        "verify", "train_accuracy"
    )


def test_a_split_that_can_be_told_apart_gives_no_verdict(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    assert isinstance(images.train, ArrayImages) and isinstance(images.test, ArrayImages)
    darker = ImageSet("noise", images.train, ArrayImages(images.test.pixels // 2, images.test.labels))
    result = run(trained, darker, tmp_path, attacks=["membership/loss", "membership/correctness"])
    assert {row.status for row in result.rows if row.family == "membership" and row.value is not None} == {"suspect"}
    summary = result.summary()
    assert summary["strongest_membership_attack"].startswith("membership/")
    assert summary["meaning"].startswith("No verdict (split separable without the model: ")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(result_view(result, 80))
    assert "suspect: split separable without the model" in console.export_text()


def test_a_narrow_terminal_shows_every_number_whole(trained: nn.Module, images: ImageSet, tmp_path: Path) -> None:
    result = run(trained, images, tmp_path, attacks=["membership/loss", "membership/modified_entropy_per_class"])
    for digits in (3, 5, 7):
        rows = tuple(replace(row, n=10**digits - 1) for row in result.rows)
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(result_view(replace(result, rows=rows), 80))
        text = console.export_text()
        assert "…" not in text and text.count(" " + "9" * digits) >= 2 and "modified_entropy_per_class" in text
