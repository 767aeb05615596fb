"""Show the training images that a membership attack finds most easily, as a contact sheet (PNG) and a page (HTML).

Each comes with its label, the model's prediction, a p-value (the chance that an unseen image as difficult scores as high), a
q-value, and how many images would stand out without any leak. An attack without calibrated scores (membership/loss) gives the
share of unseen images that score as high, and finds easy images first. With --json the list is printed, and nothing is written unless
--output says where. Exit code 3 when the model is suspect.

examples:
  securitynet exposed builtin/digits-overfit
  securitynet exposed akamaster/resnet20 --data cifar10.npz --attack membership/margin --top 100 --output sheets/
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cli import DONE, SUSPECT, is_main_process
from securitynet.cli._options import add_json, add_model, library_options, print_json
from securitynet.errors import UsageError

if TYPE_CHECKING:
    from securitynet.report.galleries.exposed import Gallery

ATTACK = "membership/quantile"
HELP = "show the training images that are easiest to recognise as such"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    parser.add_argument(
        "--attack", default="membership/quantile", metavar="ATTACK", help="whose scores rank them (default: membership/quantile)"
    )
    parser.add_argument("--top", type=int, default=36, metavar="N", help="how many (default 36)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the sheet and the page go (default: here)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the sheet and the page, and say where; 3 if the model is suspect."""
    from securitynet.attacks.resolve import name_of, resolve
    from securitynet.evaluation import evaluate
    from securitynet.report.galleries.exposed import gallery

    if args.top < 1:
        raise UsageError(f"--top must be at least 1, not {args.top}")
    options = library_options(args)
    attack = resolve(args.attack)[0]
    result = evaluate(args.model, options.pop("data"), [attack], **options)
    found = gallery(result, name_of(attack), args.top)
    if is_main_process():
        files = _written(found, args.output or Path()) if args.output or not args.json else []
        if args.json:
            print_json(found.to_record())
        else:
            _show(found, files)
    return SUSPECT if result.verdict.cause else DONE


def _written(found: Gallery, folder: Path) -> list[Path]:
    from securitynet.cache import replacing
    from securitynet.report.galleries.contact_sheet import sheet

    stem = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', found.entry)}-exposed"
    picture, page = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.html")
    with replacing(picture) as part:
        sheet(found).save(part, format="PNG")
    with replacing(page) as part:
        part.write_text(found.page(), encoding="utf-8")
    return [picture, page]


def _show(found: Gallery, files: list[Path]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if found.doubt:
        console.print(Text(f"suspect: {found.doubt}", style="bold red"))
    console.print(Text(found.heading))
    console.print(Text(found.luck))
    for path in files:
        console.print(Text(f"saved {path}", style="dim"), soft_wrap=True)
