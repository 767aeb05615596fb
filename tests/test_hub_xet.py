"""Results and models through Xet, as the Hub takes them today; the clients choose when they are imported, so in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub

pytest.importorskip("hf_xet", reason="hf_xet is not installed")
SWITCH = "HF_HUB_DISABLE_XET"


@pytest.mark.skipif(os.environ[SWITCH] == "0", reason="this is that process")
def test_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", __file__]
    root, environment = Path(__file__).parents[1], os.environ | {SWITCH: "0", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and "1 passed, 1 skipped" in done.stdout, done.stdout[-3000:]


@pytest.mark.skipif(os.environ[SWITCH] != "0", reason="Xet is off in this process")
def test_through_xet(hub: Hub, tmp_path: Path) -> None:
    import datasets

    from securitynet.hub import push_model, push_results
    from securitynet.loaders import load_model
    from securitynet.results.row import Row

    datasets.config.USE_PARQUET_EXPORT = False
    known = load_model("builtin/digits-regular", cache_dir=tmp_path)
    push_model(known, "tester/xet", annotation={})
    again = load_model("hf-hub:tester/xet", cache_dir=tmp_path / "other")
    assert again.weights_sha256 == known.weights_sha256
    rows = [Row(entry="a/b", dataset="d", family="membership", attack="membership/loss", metric=name, value=0.5) for name in "xy"]
    assert push_results(rows, "tester/xet-results").rows == 2 and push_results(rows, "tester/xet-results").rows == 0
    found = datasets.load_dataset("tester/xet-results", "membership", split="train")
    assert sorted(found["row_id"]) == sorted(row.row_id for row in rows)
    assert any("/xet-write-token/" in one.path for one in hub.requests), "Xet was used"
    assert not any(one.method == "PUT" and one.path.startswith("/_lfs/") for one in hub.requests), "and nothing else"
