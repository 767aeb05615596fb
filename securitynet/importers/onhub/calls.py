"""Requests to the Hub that read what it knows without fetching weights: paced, repeated where that helps, several at a time."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from securitynet.entry import COMMIT
from securitynet.errors import HubError
from securitynet.importers.onhub.quota import Quota

WORKERS = 8  # requests at a time: enough for 10 a second, which is what the Hub allows
TRIES, PAUSE, LONGEST = 6, 1.0, 60.0
BUSY, TOO_MANY = (408, 429, 500, 502, 503, 504), 429
REDIRECTS = (301, 302, 303, 307, 308)
LARGEST = 8_000_000  # bytes of a config or of a page of a listing of one thousand repos times five
PAGE = 200_000_000
RESOLVED = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Answer:
    """What the Hub answered: names of headers in lower case; `body` is empty for HEAD, and None where it was longer than allowed."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None = b""


Send = Callable[[str, str, int], Answer]  # method, address, most bytes of the body


@dataclass(frozen=True)
class Head:
    """What a file of a repo is. `state`: known, absent (the repo has no such file or revision), gated, or gone (no such repo).

    `repo` is the name that the repo has now; `digest` is the sha256 of an LFS file, git's hash of another.
    """

    state: str
    repo: str
    commit: str | None = None
    size: int | None = None
    algorithm: str | None = None
    digest: str | None = None


@dataclass
class Calls:
    """The Hub at `endpoint`; `send` makes one request without following redirects. `counts` has the requests by kind: api, file."""

    send: Send
    quota: Quota
    endpoint: str
    workers: int = WORKERS
    counts: Counter[str] = field(default_factory=Counter)
    _count: threading.Lock = field(default_factory=threading.Lock)

    def head(self, repo: str, revision: str, file: str) -> Head:
        """Return what a file at a revision is. Raises HubError where the Hub cannot be asked."""
        return head_of(repo, *self._followed("HEAD", self.file_address(repo, revision, file), 0))

    def get(self, repo: str, revision: str, file: str) -> bytes | None:
        """Return the content of a small file, None where there is none to be had. Raises HubError where the Hub cannot be asked."""
        answer, _ = self._followed("GET", self.file_address(repo, revision, file), LARGEST)
        return answer.body if answer.status == 200 else None

    def info(self, repo: str, blobs: bool = False) -> tuple[int, dict[str, Any]]:
        """Return status and description of a repo; with `blobs`, sizes and hashes of its files. Raises HubError."""
        answer, _ = self._followed("GET", f"{self.endpoint}/api/models/{quote(repo)}{'?blobs=true' if blobs else ''}", LARGEST)
        return answer.status, _object(answer.body) if answer.status == 200 else {}

    def page(self, address: str) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of a listing and the address of the next one. Raises HubError."""
        answer = self._asked("GET", address, PAGE)
        if answer.status != 200 or answer.body is None:
            raise HubError(f"the Hub refuses to list models (it answers {answer.status}: {_words(answer)})")
        items = _json(answer.body)
        if not isinstance(items, list):
            raise HubError("the Hub's listing of models is not a list; is HF_ENDPOINT a Hub?")
        return [item for item in items if isinstance(item, dict)], self._next(answer)

    def each(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Yield items with what the function returns for them, as they are done, some at a time. Raises what the function raises."""
        waiting, source = set[Future[R]](), iter(items)
        places: dict[Future[R], T] = {}
        pool = ThreadPoolExecutor(self.workers)
        try:
            while True:
                while len(waiting) < 2 * self.workers and (item := next(source, places)) is not places:
                    future = pool.submit(function, item)  # type: ignore[arg-type]
                    places[future] = item  # type: ignore[assignment]
                    waiting.add(future)
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield places.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def file_address(self, repo: str, revision: str, file: str) -> str:
        """Return the address of a file on this Hub."""
        return f"{self.endpoint}/{quote(repo)}/resolve/{quote(revision, safe='')}/{quote(file)}"

    def _next(self, answer: Answer) -> str | None:
        found = re.search(r'<([^>]+)>;\s*rel="?next"?', answer.headers.get("link", ""))
        if found is None:
            return None
        if not found[1].startswith(f"{self.endpoint}/"):
            raise HubError(f"the Hub's listing goes on at another address ({found[1][:100]}), which is not asked")
        return found[1]

    def _followed(self, method: str, address: str, most: int) -> tuple[Answer, str]:
        """The answer after redirects on the Hub itself, a renamed repo or a cache of small files, and the address that gave it."""
        for _ in range(5):
            answer = self._asked(method, address, most)
            place = answer.headers.get("location")
            if answer.status not in REDIRECTS or not place:
                return answer, address
            target = urljoin(address, place)
            if not target.startswith(f"{self.endpoint}/") or "x-linked-size" in answer.headers:
                return answer, address  # where the bytes of an LFS file lie
            address = target
        raise HubError(f"{address[:200]}: redirects without an end")

    def _asked(self, method: str, address: str, most: int) -> Answer:
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.utils import httpx

        kind, pause = kind_of(address), PAUSE
        for left in reversed(range(TRIES)):
            self.quota.take(kind)
            with self._count:
                self.counts[kind] += 1
            asked = self.quota.now()
            try:
                answer = self.send(method, address, most)
            except OfflineModeIsEnabled as error:
                raise HubError("HF_HUB_OFFLINE forbids to ask the Hub; run without it") from error
            except httpx.TransportError as error:
                if not left:
                    raise HubError(f"the Hub cannot be reached ({' '.join(str(error).split())[:120]}); run again to go on") from error
            else:
                self.quota.learn(kind, answer.headers, asked)
                if answer.status not in BUSY:
                    return answer
                if answer.status == TOO_MANY:
                    self.quota.refused(kind, _wish(answer, pause))
                    continue
            self.quota.sleep(pause)
            pause = min(2 * pause, LONGEST)
        raise HubError(f"the Hub is busy (it answers {answer.status}); run again later to go on")


def kind_of(address: str) -> str:
    """Return the kind of limit that a request counts towards: `file` for addresses with /resolve/, else `api`."""
    path = urlsplit(address).path
    return "file" if "/resolve/" in path or path.startswith("/api/resolve-cache/") else "api"


def connect(workers: int = WORKERS) -> Calls:
    """Return the Hub of HF_ENDPOINT, asked through huggingface_hub's own client with the token that it finds."""
    from huggingface_hub import constants

    return Calls(_send, Quota(), constants.ENDPOINT.rstrip("/"), workers)


def _send(method: str, address: str, most: int) -> Answer:
    from huggingface_hub.utils import build_hf_headers, get_session

    headers = {**build_hf_headers(library_name="securitynet"), "Accept-Encoding": "gzip" if most > LARGEST else "identity"}
    with get_session().stream(method, address, headers=headers, follow_redirects=False, timeout=60) as response:
        body: bytes | None = b""
        if method != "HEAD" and response.status_code == 200:
            parts, length = [], 0
            for chunk in response.iter_bytes():
                length += len(chunk)
                if length > most:
                    break
                parts.append(chunk)
            body = b"".join(parts) if length <= most else None
        return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def head_of(repo: str, answer: Answer, address: str) -> Head:
    """Return what the answer to HEAD says of a file; the address is the one after redirects."""
    found, headers = RESOLVED.search(urlsplit(address).path), answer.headers
    name = found["repo"] if found else repo
    code = headers.get("x-error-code", "")
    if answer.status in (401, 403, 404, 410, 451):
        gated = code == "GatedRepo" or (answer.status == 403 and code != "RepoNotFound")
        absent = code in ("EntryNotFound", "RevisionNotFound")
        return Head("gated" if gated else "absent" if absent else "gone", name)
    etag = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/").strip('"')
    commit, size = headers.get("x-repo-commit", ""), headers.get("x-linked-size") or headers.get("content-length", "")
    if answer.status >= 400 or not COMMIT.fullmatch(commit) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", etag):
        raise HubError(f"{name}: the Hub's answer ({answer.status}) names neither commit nor hash of a file")
    algorithm = "sha256" if len(etag) == 64 else "git-blob-sha1"
    return Head("known", name, commit, int(size) if size.isdecimal() else None, algorithm, etag)


def _wish(answer: Answer, pause: float) -> float:
    from huggingface_hub.utils import parse_ratelimit_headers

    said, after = parse_ratelimit_headers(answer.headers), answer.headers.get("retry-after", "")
    return float(said.reset_in_seconds) if said is not None else float(after) if after.isdecimal() else max(pause, LONGEST)


def _json(body: bytes) -> Any:
    import json

    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _object(body: bytes | None) -> dict[str, Any]:
    found = _json(body or b"")
    return found if isinstance(found, dict) else {}


def _words(answer: Answer) -> str:
    return " ".join(answer.headers.get("x-error-message", "no reason is given").split())[:120]
