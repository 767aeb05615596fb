"""Errors that a person can act on: one line, the cause and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SecurityNetError(Exception):
    """Base of every error that the package raises on purpose. Its text is one line for a person."""


class UsageError(SecurityNetError):
    """The call itself is wrong: an unknown id, attack, option or field."""


class DataError(SecurityNetError):
    """The images or labels at hand cannot be used."""


class DownloadError(SecurityNetError):
    """A file could not be fetched, or is not the file that the entry promises."""


class HubError(SecurityNetError):
    """The Hub refuses a change, or does not answer."""


class LoadError(SecurityNetError):
    """The weights cannot be turned into the network that the entry describes."""


class TrainingError(SecurityNetError):
    """A network could not be trained: its loss is not finite, or what it must learn was not learnt."""


class NotFinite(SecurityNetError):
    """An attack's score is not a finite number for some images; the text says for how many."""


class Skipped(SecurityNetError):
    """An attack does not apply here; the text is the reason that goes into its row."""


class CutShort(Skipped):
    """An attack gave no number because its budget ended first: that says nothing about the model."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """Return the error for a `name` that is none of `choices`, with its nearest neighbours."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known[:12])}{' ...' if len(known) > 12 else ''}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
