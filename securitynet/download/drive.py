"""Google Drive asks before it sends a file that it did not scan for viruses: the address behind its page's button."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
LARGEST = 1 << 20  # bytes of a page; Google's has some thousand
FORM, LINK = "download-form", "uc-download-link"
FIELDS = ("id", "export", "confirm", "uuid", "at", "resourcekey", "authuser")


def confirmed(page: bytes, address: str) -> str | None:
    """Return where the button of the page at `address` leads, None where it has none: a login, a quota, or another page.

    It leads to Google, or to the host of the page itself, with nothing but what Google puts there, for the file that was wanted.
    """
    parser = _Page()
    parser.feed(page[:LARGEST].decode(errors="replace"))
    fields = {name: value for name, value in parser.fields.items() if name in FIELDS}
    target = urljoin(address, parser.action or "")
    if parser.action is None or "confirm" not in fields or fields.get("id") != _file_of(address):
        return None
    parts = urlsplit(target)
    if parts.netloc != urlsplit(address).netloc and not (parts.scheme == "https" and parts.netloc in HOSTS):
        return None
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(fields)}"


def _file_of(address: str) -> str | None:
    """The id of the file that an address names, `uc?id=ID`."""
    return next(iter(parse_qs(urlsplit(address).query).get("id", [])), None)


class _Page(HTMLParser):
    """The form of the page, or the link that older ones have: where it leads, and with which fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("id") == FORM:
            self.inside = True
            self._take(given.get("action", ""))
        elif tag == "a" and given.get("id") == LINK:
            self._take(given.get("href", ""))
        elif tag == "input" and self.inside and given.get("type") == "hidden":
            self.fields[given.get("name", "")] = given.get("value", "")

    def _take(self, address: str) -> None:
        self.action = address
        self.fields |= {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "form"
