"""Make nulls of one's own: what clean models of a dataset score, so that the ladder can judge others like them.

`calibrate` runs the ladder on public models that are presumed clean, and writes their scores and what kind of models they are.
The full route is run, unless `--budget` allows only a cheaper one: models are then judged with the same budget. What was
measured is kept beside the output (`FILE.scores`), so that a run that was ended goes on, and further models can be added later.
A model that is far beyond the others is set aside, and named. Fewer than ten models make no null: the file is written, with a
remark. The file is text, one JSON object a line; push it wherever others can read it (`hf upload ORG/NULLS FILE`).

examples:
  securitynet backdoor calibrate --dataset CIFAR-10 --data cifar10.npz --models akamaster/resnet20 akamaster/resnet44 --output own.jsonl
  securitynet evaluate MODEL --data cifar10.npz --attacks backdoor:standard --set nulls=own.jsonl
  securitynet backdoor calibrate --dataset ImageNet-1k --data imagenet/ --models A B C --budget 20000 --output imagenet.jsonl
  securitynet evaluate MODEL --data imagenet/ --attacks backdoor:standard --set nulls=imagenet.jsonl budget=20000
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import securitynet
from securitynet.cli import DONE, FAILED, is_main_process
from securitynet.cli._options import add_json, print_json
from securitynet.errors import SecurityNetError

if TYPE_CHECKING:
    from securitynet.attacks.backdoor._calibration import Nulled, Scored

HELP = "measure clean models, so that backdoor detection can judge others like them"
ALL = 10**12  # passes: nothing is left out
log = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their options."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    words = "measure clean models and write a file of nulls"
    calibrate = actions.add_parser("calibrate", help=words, description=f"{words[0].upper()}{words[1:]}.")
    calibrate.add_argument("--dataset", required=True, metavar="KEY", help="image dataset of the models, such as ImageNet-1k")
    calibrate.add_argument("--models", required=True, nargs="+", metavar="MODEL", help="ids of the catalog, files or folders")
    calibrate.add_argument("--data", metavar="PATH|HUB-ID", help="clean images (default: the dataset that the entries name)")
    calibrate.add_argument("--output", type=Path, default=Path("nulls.jsonl"), metavar="FILE", help="default: nulls.jsonl")
    calibrate.add_argument("--samples", type=int, default=1000, metavar="N", help="at most N images of each part (default 1000)")
    calibrate.add_argument("--budget", type=int, default=ALL, metavar="N", help="passes a model may take, which choose the route")
    calibrate.add_argument("--seed", type=int, default=0)
    calibrate.add_argument("--cache-dir", metavar="DIR")
    calibrate.add_argument("--offline", action="store_true", help="use only what is already here")
    add_json(calibrate)


def run(args: argparse.Namespace) -> int:
    """Measure the models one after the other, write the file, say what is in it; 1 where no model could be measured."""
    from securitynet.attacks.backdoor._calibration import Journal, nulled
    from securitynet.cache import replacing

    settings = {name: getattr(args, name) for name in ("dataset", "data", "budget", "samples", "seed")}
    journal = Journal(args.output, {**settings, "version": securitynet.__version__})
    known = journal.known()
    for place, model in enumerate(args.models, 1):
        if model in known:
            log.info("%d of %d, %s: measured before", place, len(args.models), model)
            continue
        log.info("%d of %d, %s", place, len(args.models), model)
        one = _scored(model, args)
        if one is not None:
            known[model] = one
            if is_main_process():
                journal.add(one)
    scored = [known[model] for model in dict.fromkeys(args.models) if model in known]
    if not scored:
        return FAILED
    found = nulled(scored)
    if is_main_process():
        with replacing(args.output) as part:
            part.write_text(found.lines, encoding="utf-8")
        _say(args, found)
    return DONE


def _scored(model: str, args: argparse.Namespace) -> Scored | None:
    """The scores of one model; None, and a line, for one that cannot be measured."""
    from securitynet.attacks.backdoor._calibration import Scored
    from securitynet.attacks.backdoor._covariates import kind_of
    from securitynet.attacks.backdoor._nulls import key_of
    from securitynet.attacks.backdoor.ladder import Ladder
    from securitynet.cache import cache_root
    from securitynet.evaluation import Subject
    from securitynet.inputs import Options

    try:
        options = Options(cache_root(args.cache_dir), args.seed, args.samples, offline=args.offline)
        subject = Subject.of(model, args.data, None, (), options)
        if subject.target.entry.dataset is None:  # a file or folder that does not name it
            subject = Subject.of(model, args.data, {"dataset": args.dataset}, (), options)
        if key_of(subject.target.entry.dataset) != key_of(args.dataset):
            log.warning("%s left out: its dataset is %s", model, subject.target.entry.dataset)
            return None
        given = subject.target, subject.splits, subject.accelerator
        return Scored.of(model, kind_of(*given), Ladder(budget=args.budget)(*given))
    except SecurityNetError as error:
        log.warning("%s left out: %s", model, error)
        return None


def _say(args: argparse.Namespace, found: Nulled) -> None:
    if args.json:
        print_json({"file": str(args.output), "models": list(found.kept), "set_aside": list(found.aside), "enough": found.enough})
        return
    few = "" if found.enough else "; too few for a null, ten at least are needed"
    aside = f"; set aside as unlike the others: {', '.join(found.aside)}" if found.aside else ""
    sys.stdout.write(f"{args.output}: scores of {len(found.kept)} models{few}{aside}\n")
