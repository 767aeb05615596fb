"""Print a script that lets a shell complete commands and options (needs securitynet[completion]).

examples:
  securitynet completion bash > ~/.local/share/bash-completion/completions/securitynet
  securitynet completion zsh > ~/.zfunc/_securitynet
"""

from __future__ import annotations

import argparse
import sys

from securitynet.cli import DONE

HELP = "print a shell's completion script"
SHELLS = ("bash", "zsh", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}")


def run(args: argparse.Namespace) -> int:
    """Print the script. Raises UsageError without shtab."""
    from securitynet.cli import parser
    from securitynet.errors import UsageError

    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: pip install 'securitynet[completion]'") from None
    sys.stdout.write(shtab.complete(parser(), shell=args.shell) + "\n")
    return DONE
