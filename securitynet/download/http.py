"""One file over HTTP: resumed where it stopped, never more than was promised, never a web page in its place."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from securitynet.download.drive import LARGEST, confirmed
from securitynet.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)
TRIES = 4
PAUSE, LONGEST = 1.0, 60.0  # seconds before the second try, doubled each time, and at most
PATIENCE = 1800.0  # seconds in all that a server may ask to wait
WORTH_A_WORD = 5.0  # seconds
TOO_MANY = 429
CONNECT_TIMEOUT, READ_TIMEOUT = 15.0, 60.0
BUSY = (408, 425, 429, 500, 502, 503, 504)
REFUSED = (401, 403, 407)


@dataclass(frozen=True)
class Request:
    """What to get. `label` names it in messages, `pinned` says that a full hash will be checked, `size` is the promised size in bytes.

    `hold`: seconds in all that a server which says when to come back is waited for.
    """

    label: str
    url: str
    pinned: bool = False
    size: int | None = None
    progress: bool = False
    hold: float = PATIENCE

    def allows(self, address: str) -> bool:
        """Whether `address` may be asked: https; plain http where a full hash is checked, or where all happens on this machine."""
        scheme = urlsplit(address).scheme
        return scheme == "https" or (scheme == "http" and (self.pinned or (is_loopback(self.url) and is_loopback(address))))


def is_loopback(address: str) -> bool:
    """Say whether an address is one of this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def transfer(request: Request, part: Path) -> None:
    """Bring the file into `part`, going on from what lies there. What arrived stays for the next call when the line breaks.

    Raises DownloadError with cause and remedy, Later where the server wants to be asked again later than `hold` allows. The
    content is not checked here beyond its size.
    """
    from huggingface_hub.utils import httpx

    pause, left, waited = PAUSE, TRIES, 0.0
    while True:
        try:
            return _attempt(request, part)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise DownloadError(f"{request.label}: {request.url} cannot be reached ({_words(error)}); {REMEDY}") from error
        except (httpx.TransportError, Busy) as error:
            wish = error.after(pause) if isinstance(error, Busy) else None
            left -= wish is None
            if not left or waited + (wish or 0.0) > request.hold:
                arrived = part.stat().st_size if part.exists() else 0
                text = f"{request.label}: {request.url} broke off after {arrived:,} bytes ({_words(error)}); run again to go on from there"
                raise (DownloadError(text) if wish is None else Later(text, wish)) from error
            wait = pause if wish is None else max(wish, PAUSE)
        if wait > WORTH_A_WORD:
            log.info("%s: the server asks to wait %.0f s", request.label, wait)
        time.sleep(wait)
        waited += wait
        pause = min(2 * pause, LONGEST)


REMEDY = "check the network and run again, or fetch the file by other means and pass its path"


class Later(DownloadError):
    """The server wants to be asked again in so many `seconds`."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class Busy(Exception):
    """The server asks to come back later. `wish` is the header Retry-After of its answer: seconds, or a date; `limit` that it is a 429."""

    def __init__(self, text: str, wish: str = "", limit: bool = False) -> None:
        super().__init__(text)
        self._wish, self._limit = wish.strip(), limit

    def after(self, pause: float) -> float | None:
        """Return the seconds to wait, which cost no try: what the server says, for a 429 without a time `pause`; None for others."""
        if self._wish.isdecimal() and self._wish.isascii():
            return float(self._wish[:9])
        try:
            date = parsedate_to_datetime(self._wish)
        except (ValueError, TypeError, IndexError, OverflowError):
            return pause if self._limit else None
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time())


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def discard(part: Path) -> None:
    """Delete a partial file and what is known about it."""
    for path in (part, _validator_file(part)):
        path.unlink(missing_ok=True)


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _attempt(request: Request, part: Path, agreed: bool = False) -> None:
    """Bring the file once. Where Google Drive asks whether it may be sent unscanned, that is answered once: its hash is checked here."""
    start, headers = _resume(request, part)
    with _answer(request, headers) as response:
        if response.status_code == 416:
            if response.headers.get("Content-Range", "").endswith(f"/{start}"):
                return  # all of it had arrived before
            discard(part)
            raise Busy("the file changed while it was fetched")
        _check_status(request, response.status_code, response.headers.get("Retry-After", ""))
        if response.status_code != 206:
            start = 0
        if not _is_page(response, b""):
            _check_size(request, response, start)
            return _receive(request, response, part, start)
        page = _beginning(response)
        following = None if agreed else confirmed(page, str(response.url))
        if following is None:
            raise _page_instead(request, page)
    _attempt(replace(request, url=following), part, agreed=True)


def _beginning(response: Any) -> bytes:
    """Return what a page holds, up to a size that no page needs."""
    page = b""
    for chunk in response.iter_raw():
        page += chunk
        if len(page) > LARGEST:
            break
    return page


def _resume(request: Request, part: Path) -> tuple[int, dict[str, str]]:
    """Return where to go on and the headers that ask for it. Without a hash or a validator two halves might not belong together."""
    start = part.stat().st_size if part.exists() else 0
    known = _validator_file(part)
    validator = known.read_text(encoding="ascii") if known.exists() else ""
    if not start or not (validator or request.pinned):
        return 0, {}
    return start, {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})


@contextlib.contextmanager
def _answer(request: Request, headers: dict[str, str]) -> Iterator[Any]:
    from huggingface_hub.utils import httpx

    from securitynet._version import __version__

    def check(asked: Any) -> None:
        if not request.allows(str(asked.url)):
            what = "the address" if str(asked.url) == request.url else f"the redirect to {asked.url}"
            raise DownloadError(f"{request.label}: {what} is not https; plain http is followed only where the entry records a full hash")

    check(httpx.Request("GET", request.url))
    agent = {"User-Agent": f"securitynet/{__version__}", "Accept-Encoding": "identity"}
    timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    with (
        httpx.Client(follow_redirects=True, timeout=timeout, event_hooks={"request": [check]}) as client,
        client.stream("GET", request.url, headers=agent | headers) as response,
    ):
        yield response


def _check_status(request: Request, status: int, wish: str) -> None:
    if status in (200, 206):
        return
    if status in BUSY:
        raise Busy(f"the server answers {status}", wish, status == TOO_MANY)
    if status in (404, 410):
        raise DownloadError(
            f"{request.label}: {request.url} is gone (the server answers {status}); find the file elsewhere and pass its path"
        )
    cause = "asks for a login" if status in REFUSED else "refuses"
    raise DownloadError(
        f"{request.label}: {request.url} {cause} (the server answers {status}); fetch the file by other means and pass its path"
    )


def _check_size(request: Request, response: Any, start: int) -> None:
    length = response.headers.get("Content-Length", "")
    if not (length.isdecimal() and request.size):
        return
    offered = start + int(length)
    if offered != request.size:
        raise DownloadError(f"{request.label}: {request.url} offers {offered:,} bytes, the entry says {request.size:,}; it is another file")


def _page_instead(request: Request, page: bytes) -> DownloadError:
    cause = "its quota of downloads is used up for today" if b"quota exceeded" in page.lower() else "a login, a quota or a question"
    return DownloadError(
        f"{request.label}: {request.url} answers with a web page, not with the file ({cause}); fetch it with a browser and pass its path"
    )


def _is_page(response: Any, beginning: bytes) -> bool:
    declared = str(response.headers.get("Content-Type", "")).lower().startswith(("text/html", "application/xhtml"))
    return declared or beginning.removeprefix(b"\xef\xbb\xbf").lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


def _receive(request: Request, response: Any, part: Path, start: int) -> None:
    from huggingface_hub.utils import tqdm

    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else request.size
    _remember_validator(response, part)
    silent = not request.progress or not sys.stderr.isatty()
    arrived = start
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=request.label, disable=silent, leave=False) as bar,
    ):
        for chunk in response.iter_raw():
            if arrived == 0 and _is_page(response, chunk):
                raise _page_instead(request, chunk)
            arrived += len(chunk)
            if request.size and arrived > request.size:
                raise DownloadError(
                    f"{request.label}: {request.url} sends more than the {request.size:,} bytes that the entry says; it is another file"
                )
            file.write(chunk)
            bar.update(len(chunk))


def _remember_validator(response: Any, part: Path) -> None:
    """Keep what tells one version of the file from another; a weak ETag tells nothing about bytes."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    if validator.isascii() and validator:
        part.parent.mkdir(parents=True, exist_ok=True)
        _validator_file(part).write_text(validator, encoding="ascii")
    else:
        _validator_file(part).unlink(missing_ok=True)
