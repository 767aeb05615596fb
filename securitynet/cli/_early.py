"""What can be wrong in a call is checked before torch is imported and before any work begins."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from securitynet.errors import UsageError

BARE = ("standard", "full", "all")


def check_early(args: argparse.Namespace) -> None:
    """Raise UsageError for an unknown model or attack, and where the output cannot be written."""
    names = vars(args)
    if "data" in names and isinstance(names.get("model"), str):
        check_model(names["model"])
    if names.get("attacks") and args.command in ("evaluate", "audit", "sweep"):
        check_attacks(names["attacks"])
    if names.get("output") and args.command in ("evaluate", "exposed", "triggers", "paper", "leaderboard", "report", "compare", "audit"):
        outputs = names["output"] if isinstance(names["output"], list) else [names["output"]]
        for output in outputs:
            check_output(Path(output))


def check_model(model: str) -> None:
    """Raise UsageError with the nearest ids for a text that can only be an id of the catalog and is none."""
    if ":" in model or model.endswith(".toml") or os.path.exists(model) or os.path.isabs(model) or model.startswith("."):
        return
    from securitynet import catalog

    if "/" in model and not Path(model).suffix[1:].isalpha():
        catalog.entry(model)


def check_attacks(attacks: list[str]) -> None:
    """Raise UsageError with the nearest names for a name of no attack and no suite."""
    from securitynet.attacks import described
    from securitynet.errors import unknown

    known = {one.name for one in described.attacks()}
    suites = described.suites()
    for text in attacks:
        is_glob = any(sign in text for sign in "*?[")
        if text not in known and text not in suites and text not in BARE and not is_glob and not text.endswith(".py"):
            family, _, suite = text.rpartition(":")
            if f"{family or 'membership'}:{suite}" not in suites:
                raise unknown("attack", text, [*known, *suites, *BARE])


def check_output(path: Path) -> None:
    """Raise UsageError where a file or folder cannot be written at `path`; nothing is left there."""
    folder = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not folder.is_dir():
        if folder != path:
            raise UsageError(f"{path}: {folder} is a file, not a folder")
        folder = folder.absolute().parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
