"""Evaluate a model: verify it, attack it, and say what the numbers mean.

Every number comes with a 95 % interval. What was computed before is read from the cache; an interrupted run goes on where
it stopped. Exit code 3 when the model is not what its entry says; its numbers are then marked suspect. With --seeds, --json
holds the rows of all seeds and their `spread`.

examples:
  securitynet evaluate builtin/digits-overfit
  securitynet evaluate akamaster/resnet20 --data cifar10.npz --output results/
  securitynet evaluate resnet32.th --architecture nets:cifar_resnet --architecture-args '{"depth": 32}' \\
      --dataset CIFAR-10 --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --data cifar10.npz
  securitynet evaluate builtin/digits-regular --attacks ./my_attack.py 'membership/*entropy'
  securitynet evaluate builtin/digits-overfit --roc roc.svg
  securitynet evaluate builtin/digits-overfit --seeds 0 1 2
  securitynet evaluate resnet32.th --entry record.json --data cifar10.npz --attacks backdoor:standard --fail-on suspicious
  securitynet evaluate builtin/digits-badnets --attacks backdoor:standard --set exhaustive=true
  securitynet evaluate builtin/digits-overfit --attacks stealing:standard --curve curve.svg
  securitynet evaluate builtin/digits-overfit --defence top-k:3 --output results/top-3
  securitynet evaluate endpoint.toml --data images.npz --attacks standard stealing:standard
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cli import DONE, FAILED, SUSPECT, SUSPICIOUS, is_main_process
from securitynet.cli._options import add_json, add_model, add_precision, library_options, print_json
from securitynet.cli._parser import Several

if TYPE_CHECKING:
    from securitynet.meter import Bill
    from securitynet.results.result import Result

HELP = "verify and attack a model, with intervals and a comparison"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    add_precision(parser)
    parser.add_argument(
        "--attacks",
        action=Several,
        nargs="+",
        default=["standard"],
        metavar="ATTACK",
        help="names (membership/loss), suites (standard, membership:full, all), globs, or your own .py file",
    )
    parser.add_argument(
        "--set",
        action=Several,
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the attacks, in each that has them: exhaustive=true, 'budgets=[100,1000]', settings.pool=MNIST",
    )
    parser.add_argument(
        "--defence",
        action="append",
        default=[],
        metavar="NAME|FILE.py",
        help="wrap the model in a defence: rounding:2, top-k:3, label-only, temperature:2, noise:0.1, or your own; may be repeated",
    )
    parser.add_argument(
        "--out-model",
        metavar="MODEL",
        help="a model that was not trained on these images, to compare a leak with (default: small networks are trained where needed)",
    )
    parser.add_argument(
        "--overwrite",
        choices=("only-missing", "always", "never"),
        default="only-missing",
        help="attacks that have a stored result: read it (default); run all again; or run nothing and read only",
    )
    parser.add_argument("--output", metavar="DIR", help="save rows.jsonl, the model's outputs, scores and the summary there")
    parser.add_argument(
        "--roc", metavar="FILE", help="draw the ROC curves on logarithmic axes into a .png, .svg or .pdf (needs securitynet[plots])"
    )
    parser.add_argument(
        "--curve", metavar="FILE", help="draw how agreement grows with the queries of stealing attacks into a .png, .svg or .pdf"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="evaluate with each of these seeds and show how far the numbers spread (in place of --seed)",
    )
    parser.add_argument(
        "--fail-on",
        choices=["suspicious"],
        help="exit with 4 where the model looks backdoored (a verdict alone changes no exit code)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the result, with several seeds of the last, then the spread; 1 if an attack failed, 3 if the model is suspect."""
    from securitynet.attacks.resolve import resolve
    from securitynet.attacks.settings import with_settings
    from securitynet.evaluation import evaluate

    attacks = with_settings(resolve(args.attacks), args.set) if args.set else args.attacks
    options = {**library_options(args), "out_model": args.out_model, "dtype": args.dtype, "channels_last": args.channels_last}
    options["overwrite"] = args.overwrite
    for figure in filter(None, (args.roc, args.curve)):
        from securitynet.report.figures.roc import drawable

        drawable(figure)  # reported now, not after the work
    data, seeds = options.pop("data"), list(dict.fromkeys(args.seeds or [args.seed]))
    results = [evaluate(args.model, data, attacks, defences=args.defence, **{**options, "seed": seed}) for seed in seeds]
    if is_main_process():
        _save(results, args)
        _show(results, args)
    if any(row.status == "failed" for result in results for row in result.rows):
        return FAILED
    if any(result.verdict.cause for result in results):
        return SUSPECT
    return SUSPICIOUS if args.fail_on and any(_suspicious(result) for result in results) else DONE


def _suspicious(result: Result) -> bool:
    backdoor = result.summary()["backdoor"]
    return backdoor is not None and backdoor["word"] == "suspicious"


def _save(results: Sequence[Result], args: argparse.Namespace) -> None:
    """Save what was asked for; of several seeds, each in a folder of its own, and the curves of the last."""
    for result in results if args.output else ():
        result.save(args.output if len(results) == 1 else Path(args.output) / f"seed-{result.splits.seed}")
    if args.roc:
        from securitynet.report.figures.roc import roc_figure

        roc_figure(results[-1], args.roc)
    if args.curve:
        from securitynet.report.figures.stealing import curve_figure

        curve_figure(results[-1], args.curve)


def _sent(bill: Bill) -> str:
    """Say what was truly sent for the evaluation, with its interruptions."""
    cost = f", {bill.money:g} in money" if bill.money else ""
    return f"sent: {bill.images:,} images in {bill.requests:,} requests, {bill.seconds:.0f} s of responses{cost}"


def _show(results: Sequence[Result], args: argparse.Namespace) -> None:
    from securitynet.report.comparison.seed_spread import spread

    table = spread(results) if len(results) > 1 else None
    if args.json:
        record = results[-1].to_json()
        if table is not None:
            record["rows"] = [row.to_record() for result in results for row in result.rows]
            record["spread"] = table.to_dict("records")
        print_json(record)
        return
    from rich.console import Console

    from securitynet.cli._tables import result_view

    console = Console()
    console.print(result_view(results[-1], console.width))
    if results[-1].entry.source == "endpoint" or results[-1].entry.loader == "environment":
        console.print(_sent(results[-1].bill), markup=False)
    if table is not None:
        from securitynet.cli._spread import spread_view

        console.print(spread_view(table))
    for path in filter(None, (args.output, args.roc, args.curve)):
        console.print(f"saved in {path}", style="dim", markup=False, soft_wrap=True)
