"""Keep the catalog's files: import a published table, check everything, write the generated parts of the card.

examples:
  securitynet catalog import securitynet-2024 README.MD --catalog ./catalog
  securitynet catalog build --catalog ./catalog
  securitynet catalog check --catalog ./catalog
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from securitynet.cli import DONE, FAILED
from securitynet.cli._options import add_json, print_json

HELP = "import a published table into the catalog, check it, build its card"
TABLES = ("securitynet-2024",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    bring = actions.add_parser("import", help="bring in a published table; again changes only what is new")
    bring.add_argument("table", choices=TABLES, help="securitynet-2024: Database/README.MD of TrustAIRLab/SecurityNet")
    bring.add_argument("file", type=Path, metavar="FILE", help="the table as it was published")
    check = actions.add_parser("check", help="say what is wrong with the catalog; exit code 1 where anything is")
    build = actions.add_parser("build", help="write front matter, numbers and columns of README.md as the data files say now")
    for action in (bring, check, build):
        action.add_argument("--catalog", type=Path, metavar="DIR", help="folder of the catalog (default: the installed one)")
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Do what the action says. Returns 0 where it is done and nothing is wrong, else 1."""
    folder = args.catalog or _installed()
    if not folder.is_dir():
        from securitynet.errors import UsageError

        raise UsageError(f"--catalog {folder}: no such folder")
    actions = {"import": _import, "check": _check, "build": _build}
    return actions[args.action](args, folder)


def _installed() -> Path:
    from importlib import resources

    return Path(str(resources.files("securitynet.catalog")))


def _import(args: argparse.Namespace, folder: Path) -> int:
    from dataclasses import asdict

    from securitynet.importers.securitynet_2024 import import_table

    report = import_table(args.file, folder)
    if args.json:
        print_json(asdict(report))
        return DONE
    _say("read     ", ", ".join(f"{count} {table}" for table, count in report.released.items()))
    for name in ("rows", "entries", "projects"):
        _say(f"{name:9}", ", ".join(f"{count} {what}" for what, count in asdict(getattr(report, name)).items()))
    _say("flags    ", ", ".join(f"{name} {count}" for name, count in sorted(report.flags.items())))
    _say("written  ", ", ".join(report.files) or "nothing: all was there already")
    if report.files:
        _say(f"next      securitynet catalog build --catalog {folder}")
    return DONE


def _check(args: argparse.Namespace, folder: Path) -> int:
    from securitynet.importers.check import check

    problems = check(folder)
    if args.json:
        print_json({"catalog": str(folder), "problems": problems})
    else:
        _say("\n".join(problems) or "nothing is wrong")
    return FAILED if problems else DONE


def _build(args: argparse.Namespace, folder: Path) -> int:
    from securitynet.importers.card import build_card
    from securitynet.importers.records import write_changed

    written = write_changed(folder / "README.md", build_card(folder))
    if args.json:
        print_json({"catalog": str(folder), "written": ["README.md"] if written else []})
    else:
        _say("README.md written" if written else "README.md is up to date")
    return DONE


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
