"""Check that a model does what its publisher claims: accuracy, finite outputs, no constant predictor, classes in order.

It is the first step of every evaluation. Exit code 3 when the model is suspect.

examples:
  securitynet verify builtin/digits-permuted
  securitynet verify akamaster/resnet20 --data cifar10.npz
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from securitynet.cli import DONE, SUSPECT, is_main_process
from securitynet.cli._options import add_json, add_model, library_options, print_json

HELP = "check a model against its publisher's claim"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_model(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the verdict."""
    from securitynet.evaluation import verify_model

    options = library_options(args)
    target, verdict = verify_model(args.model, options.pop("data"), **options)
    if is_main_process():
        if args.json:
            print_json({"entry": target.entry.to_record(), "verify": asdict(verdict)})
        else:
            from rich.console import Console

            from securitynet.cli._tables import verdict_lines

            Console().print(verdict_lines(target.entry, verdict))
    return SUSPECT if verdict.cause else DONE
