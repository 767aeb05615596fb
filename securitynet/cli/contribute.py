"""Propose a model for the catalog, and what was measured about it: each is checked, and a pull request opened that adds it.

The record is a JSON object with the columns of the catalog; `securitynet show ID --json` prints one to start from. Results are the folder
of `evaluate --output`, or its rows; they go to the community's dataset of results. Either may stand alone. The token is that of
`hf auth login` or of HF_TOKEN.

examples:
  securitynet contribute entry.json
  securitynet contribute entry.json --results results/resnet20
  securitynet contribute --results results/resnet20 --results-to ORG/results
"""

from __future__ import annotations

import argparse
from pathlib import Path

from securitynet.cli import DONE
from securitynet.cli._options import add_json
from securitynet.cli.push import report
from securitynet.errors import UsageError

HELP = "propose a model and results for the catalog on the Hub"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("record", nargs="?", type=Path, metavar="ENTRY.json", help="its record, with the columns of the catalog")
    parser.add_argument("--to", default="securitynet/catalog", metavar="ORG/NAME", help="the catalog (default securitynet/catalog)")
    parser.add_argument("--results", type=Path, metavar="DIR|ROWS.jsonl", help="what was measured, proposed to --results-to")
    words = "the community's dataset of results (default securitynet/results)"
    parser.add_argument("--results-to", default="securitynet/results", metavar="ORG/NAME", help=words)
    words = "the publishers of models that the results call backdoored know of it"
    parser.add_argument("--disclosed", action="store_true", help=words)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Check everything, then open the pull requests, and say where they are."""
    from securitynet.hub.catalog import contribute, entry_of
    from securitynet.hub.results import push_results, read_results
    from securitynet.results.verdict import disclosed

    if args.record is None and args.results is None:
        raise UsageError("contribute: give a record (ENTRY.json), --results, or both")
    rows = read_results(args.results) if args.results else []
    disclosed(rows, args.disclosed)
    done = []
    if args.record is not None:
        entry = entry_of(args.record)
        if rows and not any(row.entry == entry.id or (entry.hub_id and f"hf-hub:{entry.hub_id}@" in f"{row.entry}@") for row in rows):
            raise UsageError(f"{args.results}: its rows are about {rows[0].entry}, not about {entry.id}, the record")
        done.append(contribute(entry.to_record(), args.to))
    if rows:
        done.append(push_results(rows, args.results_to, create_pr=True))
    report(args, *done)
    return DONE
