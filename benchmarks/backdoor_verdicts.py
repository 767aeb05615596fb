"""What the ladder says of clean networks that are in no null: python benchmarks/backdoor_verdicts.py --output FRESH

FRESH is a population that `backdoor.py --output FRESH --first 20` trained and scored: other seeds than those of the nulls. Of
each group (ordinary, robust, deeper) it counts p-values, verdicts and models of another kind, by the nulls and the power that
come with the package or by --nulls. `--poisoned` judges the backdoored networks of the folder as well, kind by kind.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backdoor_files import judgements
from backdoor_plans import GROUNDS
from backdoor_scores import HALVES, LADDER, half_of, recorded

from securitynet.attacks.backdoor._kind import Kind
from securitynet.attacks.backdoor._nulls import Nulls, read, shipped, small_mask
from securitynet.attacks.backdoor._power import MODES, power
from securitynet.metrics.intervals import clopper_pearson
from securitynet.metrics.judgement import Judgement


def word_of(one: dict[str, Any], found: Judgement, nulls: Nulls) -> str:
    """Return the word of the verdict, as securitynet.results.verdict has it."""
    small = one["mask"] is not None and one["mask"] < small_mask(Kind(one["dataset"], one["classes"]), nulls)
    strong = {known.mode for known in power(LADDER, one["dataset"])} >= set(MODES)
    return "cannot tell" if found.word == "clean" and (small or not strong) else found.word


def group_of(one: dict[str, Any]) -> str:
    """Return ordinary, robust, deeper, or the kind of backdoor."""
    if one["poison"] != "clean":
        return str(one["poison"])
    ground = GROUNDS[one["ground"]]
    return "robust" if ground.robust else "deeper" if one["network"] == "deeper" else f"ordinary, {one['dataset']}"


def line(name: str, judged: Sequence[tuple[dict[str, Any], Judgement]], nulls: Nulls) -> str:
    """Return a row of the table."""
    words, n = Counter(word_of(one, found, nulls) for one, found in judged), len(judged)
    below = [sum((found.p_value or 1.0) <= level for _, found in judged) for level in (0.05, 0.02)]
    counts = [words[word] for word in ("clean", "cannot tell", "suspicious")]
    low, high = clopper_pearson(counts[0], n)
    other = sum(not found.calibrated for _, found in judged)
    wrong = sum((found.p_value or 1.0) <= 0.05 and found.calibrated for _, found in judged)
    cells = [n, *below, wrong, other, f"{counts[0]} [{low:.2f}, {high:.2f}]", *counts[1:]]
    return f"| {name} | " + " | ".join(map(str, cells)) + " |"


def table(records: Sequence[dict[str, Any]], nulls: Nulls) -> str:
    """Return the table in Markdown, ordinary networks of all datasets together at the end."""
    judged = judgements(records, LADDER, nulls)
    groups: dict[str, list[tuple[dict[str, Any], Judgement]]] = {}
    for one, found in judged:
        groups.setdefault(group_of(one), []).append((one, found))
    ordinary = [pair for name, pairs in groups.items() if name.startswith("ordinary") for pair in pairs]
    lines = [
        "| networks | n | p <= .05 | p <= .02 | p <= .05 and calibrated | calibrated: no | clean | cannot tell | suspicious |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line(name, pairs, nulls) for name, pairs in sorted(groups.items())),
    ]
    return "\n".join([*lines, *([line("ordinary, all", ordinary, nulls)] if ordinary else [])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of scores.jsonl")
    parser.add_argument("--nulls", type=Path, help="default: those of the package")
    parser.add_argument("--poisoned", action="store_true")
    parser.add_argument("--half", choices=HALVES, help="networks with even or odd seeds only")
    args = parser.parse_args()
    records = half_of(recorded(args.output / "scores.jsonl"), args.half)
    records = [one for one in records if args.poisoned or one["poison"] == "clean"]
    sys.stdout.write(table(records, read(args.nulls) if args.nulls else shipped()))


if __name__ == "__main__":
    main()
