"""Check that a model does what its publisher claims: accuracy, finite outputs, no constant predictor, classes in order.

It is the first step of every evaluation. Exit code 3 when the model is suspect.

examples:
  securitynet verify builtin/digits-permuted
  securitynet verify akamaster/resnet20 --data cifar10.npz
"""

from __future__ import annotations

import argparse

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
    result = verify_model(args.model, options.pop("data"), **options)
    if is_main_process():
        if args.json:
            print_json({name: value for name, value in result.to_json().items() if name != "summary"})
        else:
            from rich.console import Console

            from securitynet.cli._tables import verdict_lines

            Console().print(verdict_lines(result.entry, result.verdict))
    return SUSPECT if result.verdict.cause else DONE
