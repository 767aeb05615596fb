"""Fixtures shared by all tests; the Hub and every cache point into temporary folders before anything is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

REAL = Path(__file__).parents[2] / "shared" / "real"


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder with real public models and images; skips where it is absent."""
    if not REAL.is_dir():
        pytest.skip("the folder with real models and images is not here")
    return REAL
