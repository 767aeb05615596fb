"""One recipe, several seeds: rows per seed, and an interval that is about the recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from securitynet.cli import main
from securitynet.errors import UsageError
from securitynet.metrics.means import over_seeds
from securitynet.zoo.recipes import Planned


def test_the_interval_over_seeds_is_students() -> None:
    values = np.array([0.61, 0.58, 0.66, 0.6, 0.63])
    found = over_seeds("auc", values)
    assert (found.ci_low, found.ci_high) == pytest.approx(stats.t.interval(0.95, 4, values.mean(), stats.sem(values)))
    assert found.n == 5 and found.value == pytest.approx(values.mean())
    assert over_seeds("auc", values[:1]).value is None and over_seeds("auc", np.ones(3)).ci_low is None


def test_one_seed_is_no_recipe() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Planned(seeds=1)
    assert replace(Planned(), seeds=2).attacks == ("membership/loss",)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    from securitynet.data.digits import digits

    pixels, labels = digits()
    path = tmp_path / "small.npz"
    np.savez(path, x_train=pixels[:200], y_train=labels[:200], x_test=pixels[200:300], y_test=labels[200:300])
    return path


def test_planted_over_two_seeds(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seeds", "2", "--epochs", "1", "--data", str(small), "--output", str(tmp_path / "zoo"), "--cache-dir", str(tmp_path / "c")]
    assert main(["zoo", "plant", "kept", *options, "--attacks", "membership/correctness", "--json"]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    rows = [row for row in record["rows"] if row["attack"] == "membership/correctness" and row["metric"] == "auc"]
    assert [row["entry"] for row in rows] == ["local/kept-seed-0", "local/kept-seed-1"]
    (mean,) = [one for one in record["over_seeds"] if one["attack"] == "membership/correctness" and one["metric"] == "auc"]
    assert mean["value"] == pytest.approx(np.mean([row["value"] for row in rows])) and mean["n"] == 2
    assert {path.name for path in (tmp_path / "zoo").iterdir()} == {"kept-seed-0", "kept-seed-1"}
    assert rows[0]["weights_sha256"] != rows[1]["weights_sha256"] and "recipe" in record["about"]
