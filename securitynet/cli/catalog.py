"""Keep the catalog's files: import a table or a library's models, check everything, write the generated parts of the card.

examples:
  securitynet catalog import timm
  securitynet catalog import securitynet-2024 README.MD --catalog ./catalog
  securitynet catalog import hub --catalog ./catalog --min-downloads 100
  securitynet catalog pin timm --catalog ./catalog
  securitynet catalog diff v0.1.0 v0.2.0
  securitynet catalog add --from-hub timm/resnet18.a1_in1k --catalog ./catalog
  securitynet catalog build --catalog ./catalog
  securitynet catalog check --catalog ./catalog
  securitynet catalog check --construct --sample 200 --seed 1
  securitynet catalog check --construct --source robustbench --with "env/bin/python environments/build.py robustbench build"
  securitynet catalog check --pixels
  securitynet catalog check --links --rate 2
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from securitynet.cli import DONE, FAILED, _hubcatalog
from securitynet.cli._options import add_json, print_json

HELP = "import models or published measurements into the catalog, check it, build its card"
TABLE = "securitynet-2024"
SHOWN = 20  # ids of a summary that are printed


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    bring = actions.add_parser("import", help="bring in a library's models or a published table; again changes only what is new")
    sources = f"timm, torchvision, pytorchcv, mmpretrain as installed; hub, model_j, flashbn_rebn from the Hub; {TABLE} with its FILE"
    bring.add_argument("source", metavar="SOURCE", help=sources)
    bring.add_argument("file", type=Path, nargs="?", metavar="FILE", help="Database/README.MD of TrustAIRLab/SecurityNet")
    _hubcatalog.configure_import(bring)
    pin = actions.add_parser("pin", help="read commit, size and sha256 of entries' weights from the Hub; goes on where it stopped")
    _hubcatalog.configure_pin(pin)
    diff = actions.add_parser("diff", help="say what differs between two releases of the catalog")
    _hubcatalog.configure_diff(diff)
    check = actions.add_parser("check", help="say what is wrong with the catalog; exit code 1 where anything is")
    _configure_check(check)
    add = actions.add_parser("add", help="write the record of a repo on the Hub, and say what it still lacks")
    add.add_argument("--from-hub", required=True, metavar="ORG/NAME", help="model repo, with @revision where that matters")
    build = actions.add_parser("build", help="write what models repeat of their papers, the generated parts of README.md, the figures")
    for action in (bring, pin, diff, check, add, build):
        action.add_argument("--catalog", type=Path, metavar="DIR", help="folder of the catalog (default: the installed one)")
        add_json(action)


def _configure_check(check: argparse.ArgumentParser) -> None:
    what = check.add_mutually_exclusive_group()
    what.add_argument("--construct", action="store_true", help="build every architecture, compare classes and parameters with the record")
    what.add_argument("--links", action="store_true", help="ask every address whether it still answers; goes on where it stopped")
    what.add_argument("--pixels", action="store_true", help="compare what every model is fed with its library's own transform")
    check.add_argument("--source", metavar="S", help="models of this source only")
    check.add_argument("--sample", type=int, metavar="N", help="with --construct: only N models, drawn by --seed")
    check.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample (default 0)")
    check.add_argument(
        "--with", dest="builder", metavar="COMMAND", help="with --construct and --source: builds in an environment of its own"
    )
    check.add_argument("--rate", type=float, default=1.0, metavar="R", help="with --links: requests per second and host (default 1)")
    kept = "with --links: where answers and dates are kept (default links.jsonl); with --construct: where result, date and versions go"
    check.add_argument("--record", type=Path, metavar="FILE", help=kept)


def run(args: argparse.Namespace) -> int:
    """Do what the action says. Returns 0 where it is done and nothing is wrong, else 1."""
    folder = args.catalog or _installed()
    if not folder.is_dir():
        from securitynet.errors import UsageError

        raise UsageError(f"--catalog {folder}: no such folder")
    if args.action == "check":
        action = _construct if args.construct else _links if args.links else _pixels if args.pixels else _check
        return action(args, folder)
    if args.action in ("add", "build"):
        return (_add if args.action == "add" else _build)(args, folder)
    if args.action in ("pin", "diff"):
        return (_hubcatalog.run_pin if args.action == "pin" else _hubcatalog.run_diff)(args, folder, _say)
    if args.source == _hubcatalog.HUB or args.source in _hubcatalog.ZOOS:
        return _hubcatalog.run_import(args, folder, _say)
    return _import_table(args, folder) if args.source == TABLE else _import_stated(args, folder)


def _installed() -> Path:
    from importlib import resources

    return Path(str(resources.files("securitynet.catalog")))


def _import_stated(args: argparse.Namespace, folder: Path) -> int:
    """Import what an installed library, or the one archive of a zoo on the Hub, states of its models."""
    from dataclasses import asdict

    from securitynet.errors import UsageError, unknown
    from securitynet.importers.onhub import archived
    from securitynet.importers.packages import bring, import_package, names

    zoo = archived.ARCHIVES.get(args.source)
    if zoo is None and args.source not in names():
        raise unknown("source", args.source, [*names(), TABLE, _hubcatalog.HUB, *_hubcatalog.ZOOS, *archived.ARCHIVES])
    if args.file is not None:
        raise UsageError(f"{args.source} is read from the {'installed library' if zoo is None else 'Hub'}; it takes no FILE")
    if zoo is None:
        report = import_package(args.source, folder)
    else:
        report = bring(args.source, {fact["id"]: fact for fact in archived.facts(zoo)}, folder)
    if args.json:
        print_json(asdict(report))
        return DONE
    for name in ("added", "removed"):
        ids = getattr(report, name)
        _say(f"{name:9}", f"{len(ids)}", *([f"({_some(ids)})"] if ids else []))
    for id, columns in list(report.changed.items())[:SHOWN]:
        _say("changed  ", f"{id}: {', '.join(columns)}")
    _say("changed  ", f"{len(report.changed)} in all, {report.unchanged} unchanged")
    _said_written([f"models/{args.source}.jsonl"] if report.written else [], folder)
    return DONE


def _import_table(args: argparse.Namespace, folder: Path) -> int:
    from dataclasses import asdict

    from securitynet.errors import UsageError
    from securitynet.importers.securitynet_2024 import import_table

    if args.file is None:
        raise UsageError(f"{TABLE} needs the FILE: Database/README.MD of TrustAIRLab/SecurityNet")
    report = import_table(args.file, folder)
    if args.json:
        print_json(asdict(report))
        return DONE
    _say("read     ", ", ".join(f"{count} {table}" for table, count in report.released.items()))
    for name in ("rows", "entries", "projects"):
        _say(f"{name:9}", ", ".join(f"{count} {what}" for what, count in asdict(getattr(report, name)).items()))
    _say("flags    ", ", ".join(f"{name} {count}" for name, count in sorted(report.flags.items())))
    _said_written(report.files, folder)
    return DONE


def _said_written(files: Any, folder: Path) -> None:
    _say("written  ", ", ".join(files) or "nothing: all was there already")
    if files:
        _say(f"next      securitynet catalog build --catalog {folder}")


def _add(args: argparse.Namespace, folder: Path) -> int:
    from securitynet.cache import cache_root
    from securitynet.download import Files
    from securitynet.importers.hub import add_from_hub
    from securitynet.maintenance.papers import write_derived

    entry, missing = add_from_hub(args.from_hub, folder, Files(cache_root(None), progress=not args.json))
    write_derived(folder)
    if args.json:
        print_json({"entry": entry.to_record(), "missing": missing})
        return DONE
    _say("id       ", entry.id)
    for words in missing:
        _say("missing  ", words)
    _said_written([f"models/{entry.source}.jsonl"], folder)
    return DONE


def _check(args: argparse.Namespace, folder: Path) -> int:
    from securitynet.maintenance.check import check

    return _problems(args, folder, check(folder))


def _construct(args: argparse.Namespace, folder: Path) -> int:
    from rich.console import Console
    from rich.progress import track

    from securitynet.errors import UsageError
    from securitynet.maintenance.construct import construct, record, sample, summary
    from securitynet.maintenance.construct_elsewhere import construct_outside
    from securitynet.maintenance.records import entries, write_changed
    from securitynet.threads import cores

    outside = args.builder is not None
    if outside and args.source is None:
        raise UsageError("--with builds the models of one --source")
    chosen = sample(entries(folder, args.source), args.sample, args.seed, outside)
    processes = 1 if outside else cores()
    start = time.monotonic()
    building = construct_outside(chosen, args.builder) if outside else construct(chosen, processes)
    results = list(track(building, "building", len(chosen), console=Console(stderr=True), disable=args.json))
    problems = [f"{result.entry}: {result.problem}" for result in results if result.problem]
    found = record(summary(results), problems, time.monotonic() - start, processes)
    if args.record is not None:
        write_changed(args.record, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if args.json:
        print_json({"catalog": str(folder), **found})
        return FAILED if problems else DONE
    for source, count in found["sources"].items():
        _say(f"{source:18}", ", ".join(f"{number} {what}" for what, number in count.items()))
    _say(f"{found['date']}, {found['seconds']:g} s on {processes} processes;", ", ".join(map(" ".join, found["versions"].items())))
    return _problems(args, folder, problems)


def _pixels(args: argparse.Namespace, folder: Path) -> int:
    from securitynet.maintenance.pixels import compare, summary
    from securitynet.maintenance.records import entries

    results = list(compare(entries(folder, args.source)))
    counts = summary(results)
    problems = [f"{result.entry}: {result.problem}" for result in results if result.problem]
    if args.json:
        print_json({"catalog": str(folder), "sources": counts, "problems": problems})
        return FAILED if problems else DONE
    for source, count in counts.items():
        _say(f"{source:18}", ", ".join(f"{number} {what}" for what, number in count.items()))
    return _problems(args, folder, problems)


def _links(args: argparse.Namespace, folder: Path) -> int:
    from securitynet.maintenance.links import check_links
    from securitynet.maintenance.records import entries

    answers = check_links(entries(folder, args.source), args.record or Path("links.jsonl"), args.rate)
    return _problems(args, folder, [f"{one.url}: {one.answer} ({one.date}; {', '.join(one.entries[:3])})" for one in answers if not one.ok])


def _problems(args: argparse.Namespace, folder: Path, problems: list[str]) -> int:
    if args.json:
        print_json({"catalog": str(folder), "problems": problems})
    else:
        _say("\n".join(problems) or "nothing is wrong")
    return FAILED if problems else DONE


def _build(args: argparse.Namespace, folder: Path) -> int:
    from securitynet.maintenance.card import build_card
    from securitynet.maintenance.figures import figures
    from securitynet.maintenance.papers import write_derived
    from securitynet.maintenance.records import write_changed

    models = [f"models/{path.name}" for path in write_derived(folder)]
    drawn = [name for name, text in figures(folder).items() if write_changed(folder / name, text)]
    written = models + drawn + (["README.md"] if write_changed(folder / "README.md", build_card(folder)) else [])
    if args.json:
        print_json({"catalog": str(folder), "written": written})
    else:
        _say(f"{', '.join(written)} written" if written else "README.md is up to date")
    return DONE


def _some(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
