"""A token is in no error: what a server or a library says is shown without the secrets that were sent to it."""

from __future__ import annotations

import re
import sys

FORM = re.compile(r"(?:hf|api_org)_[A-Za-z0-9]{16,}")  # as the Hub makes them
SHORTEST = 6  # letters of a secret: a shorter one would stand in many words
HIDDEN = "***"
MOST = 200  # characters of somebody else's words


def hidden(text: str, *secrets: str | None) -> str:
    """Return a text without `secrets`, the token of the Hub's client, and whatever has the form of the Hub's tokens."""
    known = {one.strip() for one in (*secrets, _own()) if one}
    for one in sorted((one for one in known if len(one) >= SHORTEST), key=len, reverse=True):
        text = text.replace(one, HIDDEN)
    return FORM.sub(HIDDEN, text)


def said(words: object, *secrets: str | None, most: int = MOST) -> str:
    """Return the first line of what an error or a server says, without secrets, cut to `most` characters only after that."""
    text = hidden(str(words), *secrets)
    first = next((line for line in text.splitlines() if line.strip()), "") or type(words).__name__
    line = " ".join(first.split())
    return line if len(line) <= most else f"{line[:most]} ..."


def _own() -> str | None:
    """The token that the Hub's client sends; None where the client was never imported, so that nothing was sent."""
    if "huggingface_hub" not in sys.modules:
        return None
    from huggingface_hub import get_token

    try:
        return get_token()
    except OSError:
        return None
