"""How often the intervals hold the truth: python benchmarks/coverage.py [--models 1000] [--only NAME ...] [--output FILE.jsonl]

Every interval that the package reports, by the public function that gives it (a test holds the list complete), on
simulated models whose truth is known: without a leak, and with two leaks of scores that are normal, 0.3 and 1 deviations apart,
the members' spread 1.3; at 1,000 + 1,000, 5,000 + 1,000 and 5,000 + 5,000 members and non-members. An interval without an end
counts as reaching to the end of the scale. Prints coverage, the mean width, and for true-positive rates the width over that of
the normal interval that knows the ROC's slope. With --output, one JSON line per case; what stands there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from coverage_cases import Case, cases
from coverage_family import cases as family
from coverage_usage import cases as usage


@dataclass(frozen=True)
class Found:
    """What a case came to; `ratio` is the mean width over the one to compare with."""

    interval: str
    setting: str
    models: int
    coverage: float
    width: float
    ratio: float | None
    exact: bool
    seconds: float


def run(case: Case, models: int) -> Found:
    """Simulate one case."""
    rng, held, widths, start = np.random.default_rng(zlib.crc32(f"{case.interval} {case.setting}".encode())), [], [], time.perf_counter()
    for _ in range(models):
        for truth, low, high in case.draw(rng):
            low, high = (end if some is None else some for some, end in zip((low, high), case.ends, strict=True))
            held.append(low - 1e-12 <= truth <= high + 1e-12)
            widths.append(high - low)
    width = float(np.mean(widths))
    ratio = None if case.width is None else width / case.width
    return Found(case.interval, case.setting, models, float(np.mean(held)), width, ratio, case.exact, time.perf_counter() - start)


def line(found: Found) -> str:
    ratio = "" if found.ratio is None else f"{found.ratio:6.2f}"
    bad = found.coverage < 0.935 or (not found.exact and found.coverage > 0.975)
    kind = "exact" if found.exact else ""
    return f"{found.interval:42}{found.setting:62}{found.coverage:7.3f}{found.width:10.4f}{ratio:>7} {kind:6}{'<<' if bad else ''}\n"


def stored(path: Path | None) -> dict[tuple[str, str], Found]:
    lines = path.read_text().splitlines() if path and path.exists() else []
    found = [Found(**json.loads(one)) for one in lines if one]
    return {(one.interval, one.setting): one for one in found}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(arguments)
    before = stored(args.output)
    sys.stdout.write(f"{'interval':42}{'setting':62}{'covers':>7}{'width':>10}{'ratio':>7}\n")
    for case in (*cases(), *family(), *usage()):
        if not any(name in case.interval for name in args.only):
            continue
        found = before.get((case.interval, case.setting))
        if found is None or found.models < args.models:
            found = run(case, args.models)
            if args.output:
                with args.output.open("a") as file:
                    file.write(json.dumps(asdict(found)) + "\n")
        sys.stdout.write(line(found))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
