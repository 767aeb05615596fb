"""The `securitynet` command. Each module of this package without a leading underscore is one command.

A command module holds `HELP` (one line), `configure(parser)` and `run(args)`, which returns the exit code. Modules are light:
what is heavy is imported in run(). Exit codes: 0 done, 1 failed, 2 wrong usage, 3 suspect (the model is not what its entry says),
4 suspicious (it looks backdoored; only where --fail-on suspicious asks for it).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

from securitynet._version import __version__
from securitynet.cli._parser import Parser, place_model
from securitynet.errors import SecurityNetError, UsageError, shown
from securitynet.tokens import hidden

DONE, FAILED, USAGE, SUSPECT, SUSPICIOUS = 0, 1, 2, 3, 4
INTERRUPTED = 130
EPILOG = """examples:
  securitynet list --dataset CIFAR-10 'pytorchcv/resnet*'
  securitynet evaluate builtin/digits-overfit
  securitynet evaluate akamaster/resnet20 --data cifar10.npz --json > result.json

exit codes: 0 done, 1 failed, 2 wrong usage, 3 suspect (the model is not what its entry says),
4 suspicious (it looks backdoored; with --fail-on suspicious only)"""


def names() -> list[str]:
    """Return the names of all commands."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = Parser(
        prog="securitynet",
        description="Evaluate the security and privacy of public image classifiers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"securitynet {__version__}")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name in names():
        module = _command(name)
        sub = commands.add_parser(name, help=module.HELP, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        sub.add_argument("-v", "--verbose", action="count", default=0, help="say more; show tracebacks")
        module.configure(sub)
    return top


def _command(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors become one line on stderr, with a traceback only under -v."""
    if sys.platform == "win32":
        sys.stderr.write("securitynet: Windows is not supported (file locks, Unix sockets); use WSL or Linux\n")
        return USAGE
    commands = parser()
    args = commands.parse_args(argv)
    place_model(args, commands)
    _log(args.verbose)
    try:
        from securitynet.cli._early import check_early
        from securitynet.cli._options import own_weights

        own_weights(args)
        check_early(args)
        code: int = _command(args.command).run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _report("interrupted", INTERRUPTED, args.verbose)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except MemoryError:
        return _report("out of memory; give smaller --samples or --batch-size", FAILED, args.verbose)
    except SecurityNetError as error:
        return _report(str(error), USAGE if isinstance(error, UsageError) else FAILED, args.verbose)
    except OSError as error:  # disk full, permission denied: the system's own words name cause and file
        return _report(str(error), FAILED, args.verbose)
    except Exception as error:  # noqa: BLE001 - the last line of defence: one line for a person, the traceback under -v
        return _report(f"{type(error).__name__}: {error} (run with -v for the traceback)", FAILED, args.verbose)


def is_main_process() -> bool:
    """Say whether this process speaks for its group (torchrun sets RANK)."""
    return os.environ.get("RANK", "0") == "0"


def _report(message: str, code: int, verbose: int) -> int:
    if verbose:
        import traceback

        for line in traceback.format_exc().splitlines():
            sys.stderr.write(f"{shown(hidden(line))}\n")
    if is_main_process():
        sys.stderr.write(f"securitynet: {shown(hidden(' '.join(message.split())))}\n")
    return code


class _Shown(logging.Formatter):
    """Foreign names in the log move no cursor and fill no screen; no token is among them."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(hidden(super().formatMessage(record)))


def _log(verbose: int) -> None:
    """Send the package's log to stderr: what a person should know, and everything under -v."""
    logger = logging.getLogger("securitynet")
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not is_main_process():
        logger.setLevel(logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(_Shown("%(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
