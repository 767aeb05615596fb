"""Evaluate a model: verify it, attack it, and say what the numbers mean.

Every number comes with a 95 % interval. What was computed before is read from the cache; an interrupted run goes on where
it stopped. Exit code 3 when the model is not what its entry says; its numbers are then marked suspect.

examples:
  securitynet evaluate builtin/digits-overfit
  securitynet evaluate akamaster/resnet20 --data cifar10.npz --output results/
  securitynet evaluate resnet32.th --architecture nets:cifar_resnet --architecture-args '{"depth": 32}' \\
      --dataset CIFAR-10 --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --data cifar10.npz
  securitynet evaluate builtin/digits-regular --attacks ./my_attack.py 'membership/*entropy'
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from securitynet.cli import DONE, FAILED, SUSPECT, is_main_process
from securitynet.cli._options import add_json, add_model, library_options, print_json

if TYPE_CHECKING:
    from securitynet.results import Result

HELP = "verify and attack a model, with intervals and a comparison"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    parser.add_argument(
        "--attacks",
        nargs="+",
        default=["standard"],
        metavar="ATTACK",
        help="names (membership/loss), suites (standard, membership:full, all), globs, or your own .py file",
    )
    parser.add_argument(
        "--defence", action="append", default=[], metavar="FILE.py", help="wrap the model in a defence of your own; may be repeated"
    )
    parser.add_argument("--output", metavar="DIR", help="save rows.jsonl, the model's answers, scores and the summary there")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the result; 1 if an attack failed, 3 if the model is suspect."""
    from securitynet.evaluation import evaluate

    options = library_options(args)
    result = evaluate(args.model, options.pop("data"), args.attacks, defences=args.defence, **options)
    if is_main_process():
        _show(result, args)
    if any(row.status == "failed" for row in result.rows):
        return FAILED
    return SUSPECT if result.verdict.cause else DONE


def _show(result: Result, args: argparse.Namespace) -> None:
    if args.output:
        result.save(args.output)
    if args.json:
        print_json(result.to_json())
        return
    from rich.console import Console

    from securitynet.cli._tables import result_view

    console = Console()
    console.print(result_view(result, console.width))
    if args.output:
        console.print(f"saved in {args.output}", style="dim")
