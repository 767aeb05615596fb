"""Audit a model before it is used or published: one page with a severity per risk, its reason, and what to do.

The files are looked into without loading them, then the model is evaluated (membership inference, model stealing, backdoor
detection); what was evaluated before is read from the cache. A model that cannot be loaded safely has a report too. MODEL may
also be a folder that `evaluate --output` wrote. With --try, output defences are measured as well.

Exit codes: 0 done, 1 an attack failed, 2 wrong usage, 3 the model is not what its entry says, 4 a severity that --fail-on names.

examples:
  securitynet audit builtin/digits-badnets --output audit.html
  securitynet audit hf-hub:ORG/NAME --data ORG/DATASET --output audit.html --output audit.json --fail-on high
  securitynet audit results/resnet20 --output audit.md
  securitynet audit weights.pth --entry record.json --data images.npz --attacks membership:standard
  securitynet audit builtin/digits-overfit --try label-only noise:0.3
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from securitynet.cli import DONE, FAILED, SUSPECT, SUSPICIOUS, is_main_process
from securitynet.cli._options import add_json, add_model, library_options, print_json
from securitynet.cli._parser import Several

if TYPE_CHECKING:
    from securitynet.report.audit import Audit

HELP = "one page: may this model be used or published?"
LEVELS = ("high", "medium", "not-known")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    parser.add_argument(
        "--attacks", action=Several, nargs="+", metavar="ATTACK",
        help="as of evaluate (default: membership:standard stealing:standard backdoor:standard)",
    )  # fmt: skip
    parser.add_argument("--set", action=Several, nargs="+", default=[], metavar="KEY=VALUE", help="settings of the attacks, as of evaluate")
    parser.add_argument("--results", metavar="DIR", help="use this saved result of the model and evaluate nothing")
    parser.add_argument(
        "--try", nargs="*", dest="defences", metavar="DEFENCE",
        help="measure output defences, each with the adaptive thief and the membership attacks "
        "(default: rounding:1 top-k:1 label-only temperature:2 noise:0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--output", action="append", default=[], metavar="FILE", help="write the report as .html, .md or .json; may be repeated"
    )
    parser.add_argument(
        "--fail-on", choices=LEVELS, help="exit with 4 where a risk is at least so severe; not-known: where any risk is not low"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Audit, write, print; return the exit code."""
    from securitynet.attacks.resolve import resolve
    from securitynet.attacks.settings import with_settings
    from securitynet.audit import SUITES, audit
    from securitynet.report.audit.page import writable
    from securitynet.report.audit.trial import DEFENCES

    for path in args.output:
        writable(path)  # reported now, not after the work
    defences = () if args.defences is None else args.defences or DEFENCES
    named = args.attacks or list(SUITES)
    attacks = with_settings(resolve(named), args.set) if args.set else named
    options = library_options(args)
    found = audit(args.model, options.pop("data"), attacks, defences=defences, results=args.results, **options)
    if is_main_process():
        for path in args.output:
            found.save(path)
        _show(found, args)
    return code_of(found, args.fail_on)


def code_of(found: Audit, level: str | None) -> int:
    """Return the exit code: a model that is not what its entry says goes before a severity, that before an attack that failed."""
    if found.severity("verify") == "high":
        return SUSPECT
    if level is not None and found.fails(level.replace("-", " ")):
        return SUSPICIOUS
    return FAILED if found.failed else DONE


def _show(found: Audit, args: argparse.Namespace) -> None:
    if args.json:
        print_json(found.to_json())
        return
    from rich.console import Console

    from securitynet.cli._audit import audit_view

    console = Console()
    console.print(audit_view(found))
    for path in args.output:
        console.print(f"saved in {path}", style="dim", markup=False, soft_wrap=True)
