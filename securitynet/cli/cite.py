"""Print BibTeX: of a model of the catalog (its paper and its very weights), or of an attack.

examples:
  securitynet cite timm/resnet50.a1_in1k
  securitynet cite membership/lira >> references.bib
"""

from __future__ import annotations

import argparse
import sys

from securitynet.cli import DONE

HELP = "print BibTeX of a model or an attack"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the name."""
    parser.add_argument("name", metavar="ENTRY|ATTACK", help="id of the catalog, or attack such as membership/lira")


def run(args: argparse.Namespace) -> int:
    """Print the entries."""
    from securitynet.citations import cite

    sys.stdout.write(cite(args.name))
    return DONE
