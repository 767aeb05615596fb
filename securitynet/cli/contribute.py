"""Propose a model for the catalog: the record is checked, and a pull request opened that adds its line.

The record is a JSON object with the columns of the catalog; `securitynet show ID --json` prints one to start from. The token is that of
`hf auth login` or of HF_TOKEN.

examples:
  securitynet contribute entry.json
  securitynet contribute entry.json --to ORG/catalog
"""

from __future__ import annotations

import argparse
from pathlib import Path

from securitynet.cli import DONE
from securitynet.cli._options import add_json
from securitynet.cli.push import report

HELP = "propose a model for the catalog on the Hub"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("record", type=Path, metavar="ENTRY.json", help="its record, with the columns of the catalog")
    parser.add_argument("--to", default="securitynet/catalog", metavar="ORG/NAME", help="the catalog (default securitynet/catalog)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Check, open the pull request, and say where it is."""
    from securitynet.hub.catalog import contribute

    report(args, contribute(args.record, args.to))
    return DONE
