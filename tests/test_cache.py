"""The cache of answers: its limit, and several processes in one directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from securitynet.cache import LIMIT, ArrayCache, digest, size_limit
from securitynet.errors import UsageError
from securitynet.fingerprint import shapes_of

ONE = 4000  # bytes of one array, without the header of its file


def stored(directory: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_size for path in directory.glob("*/*.safetensors")}


def arrays(number: int) -> dict[str, np.ndarray]:
    return {"logits": np.full(ONE // 4, number, np.float32)}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    keys = [digest(number) for number in range(12)]
    cache = ArrayCache(tmp_path, limit=11 * ONE)
    for number, key in enumerate(keys[:10]):
        cache.put(key, arrays(number))
        os.utime(cache.path(key) or "", (number, number))
    assert set(stored(tmp_path)) == set(keys[:10])
    other = ArrayCache(tmp_path)
    found = other.get(keys[0])  # read, and so used
    assert found is not None and found["logits"][0] == 0
    cache.put(keys[10], arrays(10))
    left = stored(tmp_path)
    assert sum(left.values()) <= 11 * ONE and {keys[0], keys[10]} <= set(left) and keys[1] not in left
    assert cache.get(keys[1]) is not None  # this process still has it in memory
    assert ArrayCache(tmp_path).get(keys[1]) is None


def test_unfinished_files_of_killed_processes_go(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, limit=2 * ONE)
    (tmp_path / "ab").mkdir(parents=True)
    old, new = tmp_path / "ab" / ".old.part", tmp_path / "ab" / ".new.part"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    for number in range(3):
        cache.put(digest(number), arrays(number))
    assert not old.exists() and new.exists()


def test_without_a_limit_all_stays(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    for number in range(20):
        cache.put(digest(number), arrays(number))
    assert len(stored(tmp_path)) == 20


CROWD = f"""
import sys
from pathlib import Path
import numpy as np
from securitynet.cache import ArrayCache, digest
rng = np.random.default_rng(int(sys.argv[2]))
for number in rng.integers(0, 60, 100):
    cache = ArrayCache(Path(sys.argv[1]), limit=20 * {ONE})
    found = cache.get(digest(int(number)))
    if found is None:
        cache.put(digest(int(number)), {{"logits": np.full({ONE // 4}, number, np.float32)}})
    elif not (found["logits"] == number).all():
        sys.exit("the wrong answer")
"""


def test_several_processes_share_a_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CROWD, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(4)]
    for process in processes:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
    left = stored(tmp_path)
    assert 0 < sum(left.values()) <= 20 * ONE
    for number in range(60):
        found = ArrayCache(tmp_path).get(digest(number))
        assert found is None or (found["logits"] == number).all()


@pytest.mark.parametrize(("text", "size"), [("20GB", 2 * 10**10), ("500 mb", 5 * 10**8), ("1.5k", 1500), ("77", 77)])
def test_sizes_in_words(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv(LIMIT, text)
    assert size_limit() == size


def test_a_size_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIMIT, raising=False)
    assert size_limit() == 5 * 10**10
    monkeypatch.setenv(LIMIT, "plenty")
    with pytest.raises(UsageError, match="write a size such as 20GB"):
        size_limit()


def test_arrays_are_read_where_they_are_those_that_are_wanted(tmp_path: Path) -> None:
    """Batch normalisation counts its batches in a single number."""
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for directory in (tmp_path, None):
        cache = ArrayCache(directory)
        cache.put("ab" * 32, state)
        for reader in (cache, ArrayCache(directory) if directory else cache):
            assert set(reader.get("ab" * 32, shapes_of(network)) or {}) == set(state)
        assert cache.get("ab" * 32, shapes_of(network[0])) is None
