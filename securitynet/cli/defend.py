"""Try two standard repairs on a model: fine-pruning, and unlearning of the trigger that is found. Nothing is written.

Half of the clean test images repair the model, the other half judge it: accuracy, and what share of images of other classes a
trigger turns, before and after. Three triggers are tried: the true one where the entry records it, the one that was found before
the repair, and the smallest that a search finds in the repaired model. A repair that removes the found trigger may leave the true
one in place. With --twin the same repairs are done to a clean model of the same form: what they cost where nothing was to repair.

examples:
  securitynet defend builtin/digits-badnets --twin builtin/digits-badnets-clean
  securitynet defend resnet18.pt --entry record.json --data cifar10.npz --json
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from securitynet.cli import DONE, is_main_process
from securitynet.cli._options import add_json, add_model, library_options, print_json
from securitynet.errors import Skipped

if TYPE_CHECKING:
    from securitynet.attacks.backdoor._defended import Judged

HELP = "repair a backdoored model, and judge the repair"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    parser.add_argument("--twin", metavar="MODEL", help="a clean model of the same form and dataset, repaired in the same way")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Repair, judge, and print a line for each."""
    models = [args.model, *([args.twin] if args.twin else [])]
    found = {model: _defended(model, args) for model in models}
    if not is_main_process():
        return DONE
    if args.json:
        print_json(
            [{"model": model, "judged": [one.record for one in judged], "skipped": skipped} for model, (judged, skipped) in found.items()]
        )
    else:
        _show(found)
    return DONE


def _defended(model: str, args: argparse.Namespace) -> tuple[list[Judged], list[str]]:
    """What became of a model, and the repairs that do not apply, with the reason."""
    from securitynet.attacks.backdoor._defended import Defence, repairs
    from securitynet.cache import cache_root
    from securitynet.evaluation import Subject
    from securitynet.inputs import Options

    options: dict[str, Any] = library_options(args)
    data, facts, root = options.pop("data"), options.pop("preprocessing"), cache_root(options.pop("cache_dir"))
    subject = Subject.of(model, data, facts, (), Options(root, **options))
    defence = Defence.of(subject.target, subject.splits, subject.accelerator)
    judged, skipped = [defence.none()], []
    for name in repairs(defence.found):
        try:
            judged.append(defence.repaired(name))
        except Skipped as reason:
            skipped.append(f"{name}: {reason}")
    return judged, skipped


def _show(found: dict[str, tuple[list[Judged], list[str]]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for model, (judged, skipped) in found.items():
        table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
        for column in ("repair", "accuracy", "true trigger", "found trigger", "smallest trigger anew"):
            table.add_column(column, no_wrap=column == "repair")
        for one in judged:
            table.add_row(one.repair, _said(one.accuracy), _said(one.true), _said(one.found), _anew(one))
        console.print(Text(model, style="bold"))
        console.print(table)
        for reason in skipped:
            console.print(Text(reason, style="dim"))


def _said(estimate: Any) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    return f"{estimate.value:.1%} [{estimate.ci_low:.1%}, {estimate.ci_high:.1%}]"


def _anew(one: Judged) -> str:
    again = one.again
    return f"class {again.target_class}, {again.share:.1%} of the image, turns {again.successes} of {again.n}"
