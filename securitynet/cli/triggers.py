"""Show the triggers that Neural Cleanse recovers from a model, as a picture (PNG) and a page (HTML).

Each comes as mask and pattern, beside images without and with it, with the model's predictions, the share of images that it
turns, of each source class as well, and, where the planted trigger is known, how far the two overlap. A clean model has triggers
too: they are large. With --json the numbers are printed, and nothing is written unless --output says where. Exit code 3 when the
model is suspect.

examples:
  securitynet triggers builtin/digits-badnets
  securitynet triggers ibau/badnets_8_02 --data cifar10.npz --attack backdoor/neural_cleanse --top 10 --output triggers/
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.cli import DONE, FAILED, SUSPECT, is_main_process
from securitynet.cli._options import add_json, add_model, library_options, print_json
from securitynet.errors import UsageError

if TYPE_CHECKING:
    from securitynet.attacks.backdoor._sources import Source
    from securitynet.evaluation import Subject
    from securitynet.report.galleries.trigger_gallery import TriggerGallery

HELP = "show the triggers that can be recovered from a model"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    parser.add_argument(
        "--attack", default="backdoor/neural_cleanse", metavar="ATTACK", help="what recovers them (default backdoor/neural_cleanse)"
    )
    parser.add_argument("--top", type=int, default=3, metavar="N", help="how many, smallest mask first (default 3)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the picture and the page go (default: here)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the picture and the page, and say where; 1 if the attack failed, 3 if the model is suspect."""
    from securitynet.attacks.resolve import named, resolve
    from securitynet.cache import cache_root
    from securitynet.evaluation import Subject
    from securitynet.inputs import Options
    from securitynet.report.galleries.trigger_gallery import trigger_gallery

    if args.top < 1:
        raise UsageError(f"--top must be at least 1, not {args.top}")
    options, attacks = library_options(args), named(resolve(args.attack))
    data, facts, root = options.pop("data"), options.pop("preprocessing"), cache_root(options.pop("cache_dir"))
    subject = Subject.of(args.model, data, facts, (), Options(root, **options))
    result = subject.evaluated(attacks)
    gallery = trigger_gallery(result, subject.target, top=args.top)
    shown = _sources(subject, gallery, result.evidence)
    if is_main_process():
        files = _written(gallery, args.output or Path()) if args.output or not args.json else []
        if args.json:
            record = gallery.to_record()
            for one, sources in zip(record["triggers"], shown, strict=True):
                one["by_source_class"] = [asdict(source) for source in sources]
            print_json(record)
        else:
            _show(gallery, shown, files)
    if any(row.status == "failed" for row in result.rows):
        return FAILED
    return SUSPECT if result.verdict.cause else DONE


def _written(gallery: TriggerGallery, folder: Path) -> list[Path]:
    from securitynet.report.galleries.trigger_sheet import write_triggers

    stem = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', gallery.entry)}-triggers"
    return [write_triggers(gallery, folder / f"{stem}{ending}") for ending in (".png", ".html")]


def _sources(subject: Subject, gallery: TriggerGallery, evidence: Mapping[str, Mapping[str, Any]]) -> list[list[Source]]:
    """The success of each trigger of the gallery by source class; empty where there are no images."""
    from securitynet.attacks.backdoor._sources import by_source, of_recovered

    kept = [(arrays, row) for arrays in evidence.values() for row in range(len(arrays.get("masks", ())))]
    kept.sort(key=lambda one: float(one[0]["masks"][one[1]].sum()))  # the gallery's order
    splits = subject.splits
    part = next((one for one in (splits.test, splits.non_members, splits.queries, splits.members) if one is not None and len(one)), None)
    if part is None:
        return [[] for _ in gallery.found]
    places = zip(kept, gallery.found, strict=False)
    return [by_source(subject.target, part, of_recovered(*one), found.target_class, splits.seed) for one, found in places]


def _show(gallery: TriggerGallery, shown: list[list[Source]], files: list[Path]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if gallery.doubt:
        console.print(Text(f"suspect: {gallery.doubt}", style="bold red"))
    console.print(Text(f"{gallery.heading}; {gallery.verdict}"))
    for one, sources in zip(gallery.found, shown, strict=True):
        console.print(Text(f"towards {one.name}: {one.size}; {one.success}"))
        if sources:
            console.print(Text(f"  by source class: {', '.join(map(str, sources))}"))
        if one.place:
            console.print(Text(f"  {one.place}"))
    if gallery.truth:
        console.print(Text(gallery.truth, style="dim"))
    for path in files:
        console.print(Text(f"saved {path}", style="dim"), soft_wrap=True)
