"""What the tests of reports share: rows and evidence of families that take long to measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.results.row import Row
from securitynet.results.store import read_rows, write_rows

HOSTILE = """own/</script><script>document.title='taken'</script><img src=x onerror="document.title='taken'">'"&"""


def rows(count: int = 30, id: str = "own/model") -> list[Row]:
    """Models of two datasets whose AUC follows their accuracy."""
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        skill = float(rng.uniform(0.5, 0.9))
        common: dict[str, Any] = {"entry": f"{id}-{number}", "dataset": f"set{number % 2}"}
        values = {("verify", "test_accuracy"): skill, ("membership/loss", "auc"): 1.2 - 0.8 * skill + float(rng.normal(0, 0.01))}
        values[("membership/entropy", "auc")] = 0.5 + 0.1 * float(rng.uniform())
        found += [Row(**common, attack=attack, metric=metric, value=value) for (attack, metric), value in values.items()]
    return found


def stealing(budget_of_the_largest: int = 1000, **changes: Any) -> list[Row]:
    """Two budgets of one attack."""
    given = {"entry": "own/a", "dataset": "d", "family": "stealing", "attack": "stealing/knockoff", "params": '{"preset":"base"}', "n": 100}
    values = {
        "agreement": (0.9, 0.6), "control_agreement": (0.85, 0.58), "kl": (0.1, 0.4), "excess_agreement": (0.05, 0.02),
        "images_seen": (2000.0, 200.0),
    }  # fmt: skip
    ends = {"agreement": (0.88, 0.92), "excess_agreement": (0.01, 0.09)}
    rows = []
    for number, budget in enumerate((budget_of_the_largest, 100)):
        for metric, both in values.items():
            low, high = (None, None) if number else ends.get(metric, (None, None))
            rows.append(Row(**(given | changes), metric=metric, value=both[number], ci_low=low, ci_high=high, budget=budget))
    return rows


def add_families(folder: Path) -> Path:
    """Add a stealing curve and a detector's trigger to a saved result; return its folder."""
    rows = read_rows(folder / "rows.jsonl")
    own: dict[str, Any] = {"entry": rows[0].entry, "dataset": rows[0].dataset, "seconds": 2.5, "queries": 1000, "origin": "securitynet"}
    found = {"target_class": 3.0, "flagged": 0.0, "p_value": 0.4, "mask_l1": 4.0}
    rows += [replace(row, **own) for row in stealing()]
    rows += [Row(**own, family="backdoor", attack="backdoor/inversion", metric=name, value=value) for name, value in found.items()]
    masks = np.zeros((1, 1, 32, 32))
    masks[:, :, 30:, 30:] = 1
    arrays = {"statistics": np.arange(10.0), "classes": np.asarray([3]), "masks": masks, "patterns": masks}
    np.savez(folder / "evidence" / "inversion.npz", attack="backdoor/inversion", params="{}", **arrays)
    write_rows(folder / "rows.jsonl", rows)
    return folder
