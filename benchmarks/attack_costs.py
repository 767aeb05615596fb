"""Measure what each attack costs on one built-in model, for `securitynet attacks`: queries, and seconds beside the shared pass.

Usage: python benchmarks/attack_costs.py [ATTACK ...]; writes securitynet/attacks/costs.json. Attacks that are not named keep their line.
The first number of an attack's rows counts; those that were skipped or failed have none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import securitynet
from securitynet.attacks import described

MODEL = "builtin/digits-regular"


def main() -> None:
    """Evaluate with an empty cache and write the costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", default=["membership:standard"])
    args = parser.parse_args()
    file = Path(described.__file__).parent / described.COSTS
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found = dict(record.get("attacks", {}))
    with tempfile.TemporaryDirectory() as cache:
        result = securitynet.evaluate(MODEL, attacks=args.attacks, cache_dir=cache)
    measured: dict[str, dict[str, float]] = {}
    for row in result.rows:
        if row.status in ("ok", "suspect") and row.value is not None and row.seconds is not None and row.queries is not None:
            measured.setdefault(row.attack, {"queries": row.queries, "seconds": round(row.seconds, 2)})
    known = {one.name for one in described.attacks()}
    found |= {name: cost for name, cost in measured.items() if name in known}
    record = {"model": MODEL, "device": result.rows[0].device, "attacks": dict(sorted(found.items()))}
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
