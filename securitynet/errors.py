"""Errors that a person can act on: one line, the cause and the remedy."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import ClassVar

from securitynet.tokens import hidden

LONGEST = 480  # characters of a message: names in foreign files may have a million
HIDDEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")  # Unicode's categories of what is not seen, or moves what is


def shown(text: str, most: int = LONGEST) -> str:
    """Return a text as one line that a terminal shows as it is: control characters escaped, cut in the middle beyond `most`.

    The end is kept because the remedy stands there.
    """
    if len(text) > 2 * most:  # not a million characters one by one
        text = f"{text[:most]} ... {text[-most:]}"
    if not text.isascii() or not text.isprintable():
        text = "".join(_escaped(letter) for letter in text)
    kept = 2 * most // 3
    return text if len(text) <= most else f"{text[:kept]} ... {text[len(text) - (most - kept - 5) :]}"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii") if unicodedata.category(letter) in HIDDEN else letter


class SecurityNetError(Exception):
    """Base of every error that the package raises on purpose. Its text is one line for a person.

    Whatever foreign text goes into it, it is short, free of control characters, and holds no token: see shown(), tokens.hidden().
    """

    def __init__(self, *parts: object) -> None:
        """Keep the parts, texts as they may be shown."""
        super().__init__(*(shown(hidden(part)) if isinstance(part, str) else part for part in parts))


class UsageError(SecurityNetError):
    """The call itself is wrong: an unknown id, attack, option or field."""


class DataError(SecurityNetError):
    """The images or labels that were given cannot be used."""


class DownloadError(SecurityNetError):
    """A file could not be fetched, or is not the file that the entry promises."""


class HubError(SecurityNetError):
    """The Hub refuses a change, or does not answer."""


class LoadError(SecurityNetError):
    """The weights cannot be turned into the network that the entry describes."""


class TrainingError(SecurityNetError):
    """A network could not be trained: its loss is not finite, or what it must learn was not learnt."""


class EndpointError(SecurityNetError):
    """An endpoint does not answer, or its answer cannot be understood."""


class NotFinite(SecurityNetError):
    """An attack's score is not a finite number for some images; the text says for how many."""


class Skipped(SecurityNetError):
    """An attack does not apply here; the text is the reason that goes into its row. What `passes` may be otherwise tomorrow."""

    passes: ClassVar[bool] = False


class BudgetSpent(Skipped):
    """More images than the budget of an endpoint leaves would have been sent: none was."""

    passes = True


class Missing(Skipped):
    """Images that an attack needs beside those of the evaluation are not here."""

    passes = True


class CutShort(Skipped):
    """An attack gave no number because its budget ended first: that says nothing about the model."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """Return the error for a `name` that is none of `choices`, with its nearest neighbours."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known[:12])}{' ...' if len(known) > 12 else ''}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
