"""Push to the Hub: models, results of evaluations, the catalog, a leaderboard, metrics for `evaluate`.

The token is that of `hf auth login` or of HF_TOKEN; it is never an option, so that it stays out of the shell's history. What is there
already is not written twice, and a push that was cut off can be repeated.

examples:
  securitynet push model builtin/digits-overfit --to ORG/digits-overfit
  securitynet push model resnet32.th --entry record.json --result results/resnet32 --to ORG/resnet32
  securitynet push results results/resnet20 --to ORG/results
  securitynet push results rows.jsonl --to ORG/results --create-pr
  securitynet push results results/resnet20 --to-model ORG/resnet20 --create-pr
  securitynet push catalog --to ORG/catalog
  securitynet push board leaderboard/ --to ORG/leaderboard
  securitynet push metric membership_leakage --to ORG/membership_leakage
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, add_record, print_json, record_of
from securitynet.errors import UsageError

if TYPE_CHECKING:
    from securitynet.hub import Pushed

HELP = "push models, results, the catalog, a leaderboard or a metric to the Hub"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(title="what", dest="what", metavar="WHAT", required=True)
    model = actions.add_parser("model", help="a complete model repo, with a card; load_model reads it, and timm and transformers theirs")
    model.add_argument("model", metavar="MODEL", help="id of the catalog, or local file or folder")
    model.add_argument("--result", type=Path, metavar="DIR|ROWS.jsonl", help="what was measured about it, for card and .eval_results")
    model.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept (default $SECURITYNET_CACHE)")
    words = "also onto a repo with files of others: overwrite config and weights, delete other weights"
    model.add_argument("--replace", action="store_true", help=words)
    add_record(model)
    results = actions.add_parser("results", help="add rows to a dataset repo of results, or a result to the repo of its model")
    results.add_argument("path", type=Path, metavar="DIR|ROWS.jsonl", help="folder of a saved result, or its rows")
    words = "the model's repo: add .eval_results/securitynet.yaml and the block of its card, and change nothing else"
    results.add_argument("--to-model", metavar="ORG/NAME", help=words)
    words = "also write eval.yaml, which makes the repo of --to a benchmark of the Hub; needs --framework"
    results.add_argument("--benchmark", action="store_true", help=words)
    results.add_argument("--framework", metavar="ID", help="evaluation framework of eval.yaml, by its id in the Hub's own list")
    catalog = actions.add_parser("catalog", help="card and records of the catalog, tagged with the version")
    catalog.add_argument("--catalog", type=Path, metavar="DIR", help="its folder (default: the installed one)")
    catalog.add_argument("--tag", metavar="NAME", help="default: v and the version of this package")
    board = actions.add_parser("board", help="a folder of `securitynet leaderboard`, as a static Space")
    board.add_argument("folder", type=Path, metavar="DIR", help="the folder")
    metric = actions.add_parser("metric", help="a module for `evaluate`, as a Space of the same name")
    metric.add_argument("name", metavar="NAME", help="membership_leakage, prediction_agreement, surrogate_fidelity, backdoor_detection")
    for action in (model, results):
        words = "the publishers of models that the results call backdoored know of it"
        action.add_argument("--disclosed", action="store_true", help=words)
    for action in (model, results, board, metric):
        action.add_argument("--create-pr", action="store_true", help="open a pull request instead of writing")
    for action in (model, results, catalog, board, metric):
        _shared(action, required=action is not results)


def _shared(action: argparse.ArgumentParser, required: bool) -> None:
    action.add_argument("--to", required=required, metavar="ORG/NAME", help="the repo; created where it is missing")
    action.add_argument("--private", action="store_true", default=None, help="a repo that is created is private")
    add_json(action)


def run(args: argparse.Namespace) -> int:
    """Push, and say what was done."""
    actions = {"model": _model, "results": _results, "catalog": _catalog, "board": _board, "metric": _metric}
    report(args, *actions[args.what](args))
    return DONE


def report(args: argparse.Namespace, *done: Pushed) -> None:
    """Print what pushes did, as JSON where --json asks for it: an object, of several an array."""
    if args.json:
        print_json(asdict(done[0]) if len(done) == 1 else [asdict(one) for one in done])
        return
    for pushed in done:
        _say(pushed)


def _say(pushed: Pushed) -> None:
    what = f"{pushed.rows} new rows" if pushed.rows is not None else f"{pushed.files} files"
    if pushed.pull_request is not None:
        done = f"pull request {pushed.pull_request} " + (f"with {what}" if pushed.files else "is open already")
    else:
        done = what if pushed.files else "nothing new: all is there already"
    sys.stdout.write(f"{pushed.repo}: {done}\n{pushed.url}\n")


def _model(args: argparse.Namespace) -> list[Pushed]:
    from securitynet.hub.model import push_model
    from securitynet.hub.results import read_results
    from securitynet.loaders import load_model
    from securitynet.results.verdict import disclosed

    rows = read_results(args.result) if args.result else None
    disclosed(rows or (), args.disclosed)
    target = load_model(args.model, entry=record_of(args), cache_dir=args.cache_dir, progress=sys.stderr.isatty())
    options = {"private": args.private, "create_pr": args.create_pr, "replace": args.replace}
    return [push_model(target, args.to, annotation={}, result=rows, **options)]


def _results(args: argparse.Namespace) -> list[Pushed]:
    from securitynet.catalog import HUB_ID
    from securitynet.hub.contribution import push_evaluation
    from securitynet.hub.results import meaning_of, push_results, read_results
    from securitynet.results.verdict import disclosed

    _check(args)
    rows, done = read_results(args.path), []
    disclosed(rows, args.disclosed)
    if args.to:
        done.append(push_results(rows, args.to, create_pr=args.create_pr, framework=args.framework, private=args.private))
    if args.to_model:
        benchmark, meaning = args.to or HUB_ID, meaning_of(args.path)
        done.append(push_evaluation(rows, args.to_model, benchmark=benchmark, meaning=meaning, create_pr=args.create_pr))
    return done


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError for options of `push results` that do not go together, before anything is sent."""
    from securitynet.hub.benchmark import checked

    if not (args.to or args.to_model):
        raise UsageError("push results: say where to: --to ORG/NAME (a dataset repo of results), --to-model ORG/NAME (a model's), or both")
    if args.benchmark != (args.framework is not None) or (args.benchmark and not args.to):
        raise UsageError(
            "--benchmark and --framework ID go together, with --to: eval.yaml names a framework of the Hub's own list, which has no "
            "securitynet yet; without both, none is written"
        )
    if args.framework is not None:
        checked(args.framework)


def _catalog(args: argparse.Namespace) -> list[Pushed]:
    from importlib import resources

    from securitynet.hub.catalog import push_catalog

    folder = args.catalog or Path(str(resources.files("securitynet.catalog")))
    return [push_catalog(folder, args.to, tag=args.tag, private=args.private)]


def _board(args: argparse.Namespace) -> list[Pushed]:
    from securitynet.hub.board import push_board

    return [push_board(args.folder, args.to, create_pr=args.create_pr, private=args.private)]


def _metric(args: argparse.Namespace) -> list[Pushed]:
    from securitynet.hub.metric import push_metric

    return [push_metric(args.name, args.to, create_pr=args.create_pr, private=args.private)]
