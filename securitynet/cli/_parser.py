"""The parser of the command line: no abbreviations of options, one line per error, with the nearest names."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from securitynet.errors import shown

USAGE = 2


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line on stderr: the cause, the nearest valid name, where the help is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the arguments; errors on unknown ones name the nearest option of the command that was called."""
        found, strange = self.parse_known_args(args, namespace)
        if strange:
            words = list(sys.argv[1:] if args is None else args)
            known = list(_below(self, words))[-1]
            self._strange(known, strange)
        return found

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        choice = re.match(r"argument (.+?): invalid choice: '(.*?)' \(choose from (.*)\)", message, re.DOTALL)
        if choice:
            choices = [word.strip(" '") for word in choice[3].split(",")]
            message = f"{choice[1]} {choice[2]!r} is unknown; {_hint(choice[2], choices)}"
        self._end(message)

    def _strange(self, known: Parser, strange: Sequence[str]) -> NoReturn:
        first = strange[0].partition("=")[0]
        if first.startswith("-"):
            options = [name for name in known._option_string_actions if name.startswith("--")]
            known._end(f"unknown option {first!r}; {_hint(first, options)}")
        known._end(f"unexpected argument {first!r}")

    def _end(self, message: str) -> NoReturn:
        text = shown(" ".join(message.split()))
        sys.stderr.write(f"{self.prog}: {text}; see {self.prog} --help\n")
        sys.exit(USAGE)


def _below(parser: argparse.ArgumentParser, words: Iterable[str]) -> Iterator[Any]:
    """The parser and, one below the other, those of the commands that `words` name."""
    yield parser
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    remaining = list(words)
    for place, word in enumerate(remaining):
        if actions and word in actions[0].choices:
            yield from _below(actions[0].choices[word], remaining[place + 1 :])
            return


def _hint(name: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(choices[:12])}{' ...' if len(choices) > 12 else ''}"


class Several(argparse.Action):
    """Values of an option that takes several and may be repeated; notes that it came last: it may have taken the MODEL after it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given: set[str] = getattr(namespace, "given", set())
        before = getattr(namespace, self.dest) if self.dest in given else []
        setattr(namespace, self.dest, [*before, *values])
        namespace.given, namespace.taken_by = {*given, self.dest}, self.dest


def place_model(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Let MODEL stand after an option with several values: its last value is the model where no other was given."""
    if getattr(args, "model", "") is not None:
        return
    values = getattr(args, getattr(args, "taken_by", ""), None) or []
    if len(values) < 2:
        parser.error("MODEL is missing; give it before the options")
    args.model = values.pop()
