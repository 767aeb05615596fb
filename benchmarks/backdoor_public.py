"""Verdicts on public models whose truth is known: python benchmarks/backdoor_public.py --models MODELS.jsonl

Each line of MODELS.jsonl has `model` and `data` (paths, from the file's folder), `truth` (clean, all-to-one, all-to-all,
source-specific) and, where the catalog does not know the file, `record` (architecture, dataset, mean, std and so on, as
--preprocessing takes them). One row of Markdown each: truth, verdict, p, class, seconds of CPU, why.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

import securitynet
from securitynet.errors import SecurityNetError


def judged(one: dict[str, Any], folder: Path, cache: Path | None, samples: int) -> str:
    """Return the row of one model."""
    start = time.process_time()
    try:
        result = securitynet.evaluate(
            folder / one["model"],
            folder / one["data"],
            "backdoor/ladder",
            preprocessing=one.get("record") or None,
            samples=samples,
            cache_dir=cache,
        )
    except SecurityNetError as error:
        return f"| {one['model']} | {one['truth']} | not judged | | | | {error} |"
    found: dict[str, Any] = result.summary()["backdoor"]
    p_value = "" if found["p_value"] is None else f"{found['p_value']:.2g}"
    seconds = time.process_time() - start
    toward = "" if found["target_class"] is None else found["target_class"]
    name = "/".join(Path(one["model"]).parts[-2:])
    return f"| {name} | {one['truth']} | {found['word']} | {p_value} | {toward} | {seconds:.0f} | {found['reason']} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write("| model | truth | verdict | p | class | CPU s | why |\n|---|---|---|---|---|---|---|\n")
    for text in args.models.read_text(encoding="utf-8").splitlines():
        sys.stdout.write(judged(json.loads(text), args.models.parent, args.cache, args.samples) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
