"""Attacks that change what all models of a process share: the others' rows are those of a sweep where nobody does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sweeping import SECURITYNET, Zoo, finish, lines_of, table, weights_of, zoo

SPOILING = {  # what an attack does, and the words of its own reason
    "exit": ("sys.exit(3)", "SystemExit: 3"),
    "patched": ("torch.nn.functional.cross_entropy = lambda *a, **k: torch.zeros(len(a[0]))", "cross_entropy replaced"),
    "device": ("torch.set_default_device('meta')", "default device"),
    "images": ("splits.members.images.pixels.fill(0)", "the images were written to"),
    "labels": ("np.random.default_rng(0).shuffle(splits.members.labels)", "the labels"),
    "outputs": ("[outputs.logits.fill(0) for outputs in target.split_outputs.values()]", "its outputs"),
    "weights": ("[tensor.data.zero_() for tensor in target.module.parameters()]", "the model"),
    "dtype": ("torch.set_default_dtype(torch.float64)", "default dtype"),
    "stdout": ("sys.stdout.close()", "standard output"),
}
LEFT = {  # what costs the next model a fresh process, and no row
    "thread": ("threading.Thread(target=time.sleep, args=(1000,)).start()", "the thread"),
    "child": ("subprocess.Popen(['sleep', '1000'])", "the process sleep"),
}
KINDS = {**SPOILING, **LEFT}
ATTACK = f'''"""Does something odd on some models."""

import os, subprocess, sys, threading, time
from dataclasses import dataclass
import numpy as np, torch
from securitynet.attacks.membership import from_score

LINES = { ({name: line for name, (line, _) in KINDS.items()})!r}

@dataclass(frozen=True)
class Odd:
    name = "membership/odd"

    def __call__(self, target, splits, accelerator):
        evidence = from_score(lambda outputs: outputs.logits.max(axis=1), target, splits, accelerator)
        if "QUIET" not in os.environ:
            exec(LINES.get(target.entry.id.partition("-")[2], ""), {{**globals(), "target": target, "splits": splits}})
        return evidence
'''


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Zoo, dict[str, Any], dict[str, Any], Path]:
    """The models, the rows of a quiet sweep, those of one in which the attack does what it does, and its directory."""
    with zoo(tmp_path_factory.mktemp("zoo")) as made:
        made.attack.write_text(ATTACK, encoding="utf-8")
        for number, name in enumerate(KINDS):
            made.add(f"{number:02d}-{name}", weights_of("regular", 2 * number + 1))
            made.add(f"{number:02d}x", weights_of("regular", 2 * number + 2))

        def run(name: str, **environment: str) -> dict[str, Any]:
            own = ["--ids-from", str(made.write()), "--data", str(made.images), "--attacks", str(made.attack), "membership/loss"]
            place = ["--output", str(made.folder / name), "--cache-dir", str(made.folder / f"cache-{name}")]
            _, found, errors = finish([*SECURITYNET, "sweep", *own, *place], **environment)
            assert found["finished"], errors
            return table(made.folder / name)

        return made, run("quiet", QUIET="1"), run("odd"), made.folder / "odd"


def of(rows: dict[str, Any], entry: str) -> dict[str, Any]:
    return {key: row for key, row in rows.items() if row["entry"] == entry}


def test_every_other_model_has_the_rows_of_a_quiet_sweep(sweeps: tuple[Zoo, dict[str, Any], dict[str, Any], Path]) -> None:
    made, quiet, odd, _ = sweeps
    others = [entry for entry in made.records if entry.endswith("x")]
    assert len(others) == len(KINDS)
    for entry in others:
        assert of(odd, entry) == of(quiet, entry) != {}, entry


def test_no_row_that_counts_is_wrong_and_each_has_its_own_reason(sweeps: tuple[Zoo, dict[str, Any], dict[str, Any], Path]) -> None:
    _, quiet, odd, folder = sweeps
    for number, (name, (_, words)) in enumerate(KINDS.items()):
        rows, before = of(odd, f"test/{number:02d}-{name}"), of(quiet, f"test/{number:02d}-{name}")
        failed = [row["reason"] for row in rows.values() if row["attack"] == "membership/odd" and row["status"] == "failed"]
        assert bool(failed) == (name in SPOILING) and all(words in reason for reason in failed), (name, failed)
        assert all(row == before[key] for key, row in rows.items() if row["value"] is not None), name
    changed = {line["entry"][8:]: line["changed"] for line in lines_of(folder) if line["event"] == "done" and line["changed"]}
    assert set(changed) == KINDS.keys() - {"exit"} and all(KINDS[name][1] in what for name, what in changed.items())


def test_a_resumed_sweep_has_nothing_to_do(sweeps: tuple[Zoo, dict[str, Any], dict[str, Any], Path]) -> None:
    _, _, _, folder = sweeps
    head = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert head["jobs"] == 2 * len(KINDS) == sum(line["event"] == "done" for line in lines_of(folder))
