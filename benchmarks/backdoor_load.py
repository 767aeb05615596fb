"""One ladder on a quiet machine and one beside busy processes: python benchmarks/backdoor_load.py MODEL [--busy 8]

Prints p-value, passes, word and CPU seconds of both, and ends with 1 where anything but the seconds differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import securitynet

BUSY = "import os\nos.nice(19)\nwhile True: pass"


def judged(model: str) -> tuple[str, tuple[object, ...], float]:
    """Return what the ladder's rows say of a model, and the CPU seconds at the end; nothing is cached between two calls."""
    start = time.process_time()
    with TemporaryDirectory() as folder:
        result = securitynet.evaluate(model, None, "backdoor/ladder", cache_dir=Path(folder))
    rows = tuple((row.metric, row.value, row.queries) for row in result.rows if row.family == "backdoor")
    return result.summary()["backdoor"]["word"], rows, time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--busy", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    quiet = [judged(model) for model in args.model]
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(args.busy)]
    try:
        loud = [judged(model) for model in args.model]
    finally:
        for process in busy:
            process.kill()
    for model, one, other in zip(args.model, quiet, loud, strict=True):
        same = one[:2] == other[:2]
        sys.stdout.write(f"{model}: {one[0]}, beside {args.busy} busy processes {other[0]}; {one[2]:.1f} and {other[2]:.1f} CPU s; ")
        sys.stdout.write(f"all {len(one[1])} rows {'equal' if same else 'differ: ' + str((one, other))}\n")
    return int(any(one[:2] != other[:2] for one, other in zip(quiet, loud, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
