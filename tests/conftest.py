"""Fixtures shared by all tests; the Hub and every cache point into temporary folders before anything is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hub import Hub

REAL = Path(__file__).parents[2] / "shared" / "real"
FAST = {  # modules without training or evaluation; the others are marked `slow`
    "archive",
    "audit_statement",
    "backdoor_nulls",
    "catalog_files",
    "cite",
    "class_names",
    "command_line",
    "docs",
    "download",
    "findings",
    "headline",
    "importer",
    "importer_hub",
    "intervals",
    "list_forms",
    "metrics",
    "membership_report",
    "parquet",
    "readers",
    "report_drawings",
    "report_statistics",
    "schema_1",
    "settings",
    "stealing_metrics",
    "tar_forms",
    "tokens",
    "vocabulary",
    "zoo_recipes",
}
CACHES = (
    "HF_ASSETS_CACHE",
    "HF_DATASETS_CACHE",
    "HF_HUB_CACHE",
    "HF_MODULES_CACHE",
    "HF_XET_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
)
SWITCHES = ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_OFFLINE")


def _environment(folder: Path, endpoint: str) -> dict[str, str]:
    """What the clients read when they are imported: the Hub of this machine, caches in `folder`, no other traffic."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": "hf_test",
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": os.environ.get("HF_HUB_DISABLE_XET", "1"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "SECURITYNET_CACHE": str(folder / "securitynet"),
        "TORCH_HOME": str(folder / "torch"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


assert "huggingface_hub" not in sys.modules, "the Hub's address is read on import and must be set before"
FOLDER = Path(tempfile.mkdtemp(prefix="securitynet-tests-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
LISTENING = socket.socket()  # bound now, answered by the fixture `hub`: without it, a request is refused at once
LISTENING.bind(("127.0.0.1", 0))
for _name in CACHES + SWITCHES:  # what a user may have set must not lead the tests to the user's own files
    os.environ.pop(_name, None)
os.environ.update(_environment(FOLDER, f"http://127.0.0.1:{LISTENING.getsockname()[1]}"))


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """The Hub of this machine, empty at first: user `tester`, organisation `securitynet`. Use repo names of your own."""
    from hub import Hub, serve

    with serve(Hub(FOLDER / "hub"), LISTENING) as running:
        yield running


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder with real public models and images; skips where it is absent."""
    if not REAL.is_dir():
        pytest.skip("the folder with real models and images is not here")
    return REAL


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of modules that are not FAST, for `-m "not slow"`."""
    for item in items:
        if item.path.stem.removeprefix("test_") not in FAST:
            item.add_marker(pytest.mark.slow)
