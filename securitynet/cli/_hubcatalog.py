"""The parts of `securitynet catalog` that read the Hub: pins, its classifiers in bulk, releases."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from securitynet.cli import DONE
from securitynet.cli._options import print_json

HUB, ZOOS = "hub", {"model_j": "ProbeX"}  # sources that are read from the Hub, and whose repos a zoo's are
Say = Callable[..., None]


def configure_import(bring: argparse.ArgumentParser) -> None:
    """Add the options of `import hub`."""
    hub = bring.add_argument_group("import hub, import model_j")
    for name in ("author", "search", "library", "dataset", "licence"):
        hub.add_argument(f"--{name}", metavar="X", help=f"only repos that the Hub lists for this {name}")
    for name in ("downloads", "likes"):
        hub.add_argument(f"--min-{name}", type=int, default=0, metavar="N", help=f"only repos with at least N {name}")
    hub.add_argument("--limit", type=int, metavar="N", help="only the N most downloaded repos")
    hub.add_argument("--requests", type=float, metavar="R", help="file requests per repo at most (default 1.2; 3 reads everything)")
    hub.add_argument("--update", action="store_true", help="move records of repos with a newer commit to it (default: they stay)")


def configure_pin(pin: argparse.ArgumentParser) -> None:
    """Add the options of `pin`."""
    pin.add_argument("source", nargs="?", metavar="SOURCE", help="entries of this source only")


def configure_diff(diff: argparse.ArgumentParser) -> None:
    """Add the options of `diff`."""
    diff.add_argument("old", metavar="A", help="release (tag, branch or commit) of the catalog on the Hub, or a folder")
    diff.add_argument("new", metavar="B", help="the same; `installed`: the catalog of this package")
    diff.add_argument("--repo", metavar="ORG/NAME", help="dataset repo of the releases (default securitynet/catalog)")
    diff.add_argument("--all", action="store_true", help="show every record")


def run_import(args: argparse.Namespace, folder: Path, say: Say) -> int:
    """Import the Hub's classifiers, or a zoo's models, into a catalog folder."""
    from securitynet.importers.onhub.bulk import import_hub
    from securitynet.importers.onhub.calls import connect
    from securitynet.importers.onhub.listed import Filters
    from securitynet.importers.onhub.plan import RATIO

    author = ZOOS.get(args.source, args.author)
    limits = {"min_downloads": args.min_downloads, "min_likes": args.min_likes, "limit": args.limit}
    filters = Filters(author, args.search, args.library, args.dataset, args.licence, **limits)
    ratio = args.requests if args.requests is not None else 3.0 if args.source in ZOOS else RATIO
    report = import_hub(folder, connect(), _place(), filters, ratio=ratio, update=args.update, tick=_tick(args.json))
    if args.json:
        print_json(asdict(report))
        return DONE
    say("listed   ", f"{report.listed:,} repos; {_requests(report.requests)}")
    for name in ("added", "changed", "filled", "moved", "renamed", "gone", "gated", "conflicts"):
        _said(say, name, getattr(report, name))
    say("linked   ", f"{report.linked} to other entries with the same weights")
    say("not known", ", ".join(f"{column} of {count:,}" for column, count in report.without.items() if count) or "nothing")
    if report.without.get("weights_hash"):
        say("next      securitynet catalog pin hub: sizes and hashes that the requests did not suffice for")
    return _done(say, report.files, folder)


def run_pin(args: argparse.Namespace, folder: Path, say: Say) -> int:
    """Pin the entries of a catalog folder that lie on the Hub."""
    from securitynet.importers.onhub.calls import connect
    from securitynet.importers.onhub.pin import pin_catalog

    report = pin_catalog(folder, connect(), _place(), args.source)
    if args.json:
        print_json(asdict(report))
        return DONE
    for name in ("pinned", "renamed", "gated", "gone", "absent", "linked", "conflicts"):
        _said(say, name, getattr(report, name))
    say("entries  ", ", ".join(f"{count:,} {state}" for state, count in sorted(report.state.items())) + f"; {_requests(report.requests)}")
    return _done(say, report.files, folder)


def run_diff(args: argparse.Namespace, folder: Path, say: Say) -> int:
    """Print what differs between two releases of the catalog."""
    from securitynet.maintenance.diff import MOST, compare, lines

    found = compare(*(_state(name, args.repo, folder) for name in (args.old, args.new)))
    if args.json:
        print_json([asdict(one) for one in found])
        return DONE
    say("\n".join(lines(found, sys.maxsize if args.all else MOST)))
    return DONE


def _state(name: str, repo: str | None, folder: Path) -> Path:
    """The folder of a state of the catalog."""
    from securitynet import catalog

    if name == "installed":
        return folder
    if Path(name).is_dir():
        return Path(name)
    return Path(catalog.fetched(repo or catalog.HUB_ID, name))


def _place() -> Path:
    """Where what was read from the Hub is kept."""
    from securitynet.cache import cache_root

    return cache_root(None) / "hub"


def _tick(quiet: bool) -> Callable[[str, int, int | None], None]:
    """A line on a terminal that says how far it is."""

    def tick(what: str, done: int, total: int | None) -> None:
        if not quiet and sys.stderr.isatty():
            sys.stderr.write(f"\r{what} {done:,}{f' of {total:,}' if total is not None else ''}   ")

    return tick


def _requests(counts: dict[str, int]) -> str:
    return f"{counts.get('api', 0):,} API requests, {counts.get('file', 0):,} file requests"


def _said(say: Say, name: str, some: Any) -> None:
    if some:
        listed = [f"{key}: {value}" for key, value in some.items()] if isinstance(some, dict) else list(some)
        say(f"{name:9}", f"{len(listed):,} ({'; '.join(listed[:5])}{' ...' if len(listed) > 5 else ''})")


def _done(say: Say, files: list[str], folder: Path) -> int:
    say("written  ", ", ".join(files) or "nothing: all was there already")
    if files:
        say(f"next      securitynet catalog build --catalog {folder}")
    return DONE
