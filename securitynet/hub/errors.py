"""What the Hub's client raises, in one line: what is wrong, and what helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from securitynet.errors import HubError, SecurityNetError, UsageError
from securitynet.tokens import hidden, said

BUSY = (408, 429, 500, 502, 503, 504)
OVERTAKEN = (409, 412)


@dataclass(frozen=True)
class Trouble:
    """One failed call: `status` is the Hub's answer (None: there was none), `wait` the seconds it asks for."""

    error: Exception
    status: int | None
    wait: float | None

    @classmethod
    def of(cls, error: Exception) -> Trouble:
        """Return the trouble behind an error of the client, which wraps some of them."""
        answers = (getattr(one, "response", None) for one in _chain(error))
        response = next((answer for answer in answers if answer is not None), None)
        if response is None:
            return cls(error, None, None)
        return cls(error, response.status_code, _wait(response.headers))

    @property
    def overtaken(self) -> bool:
        """Whether another writer was faster."""
        return self.status in OVERTAKEN

    @property
    def passes(self) -> bool:
        """Whether trying again may help: the Hub is busy, or the line was cut."""
        from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
        from huggingface_hub.utils import httpx

        if self.status is not None:
            return self.status in BUSY
        if isinstance(self.error, OfflineModeIsEnabled | HFValidationError):
            return False
        return any(isinstance(one, httpx.TransportError | ConnectionError) for one in _chain(self.error))

    def explained(self, repo: str, token: str | None) -> SecurityNetError:
        """Return the error for a person; a token that the server repeats does not get through."""
        from huggingface_hub.errors import HFValidationError

        kind = UsageError if isinstance(self.error, HFValidationError) else HubError
        return kind(hidden(f"{repo}: {self._cause(repo, token)}", token))

    def _cause(self, repo: str, token: str | None) -> str:
        from huggingface_hub.errors import OfflineModeIsEnabled

        owner = repo.partition("/")[0]
        known = {
            401: "the Hub does not know who asks: log in with `hf auth login`, or set HF_TOKEN to a token that is valid",
            403: f"the token may not write there: it needs the right to write, and {owner} must be yours; --create-pr proposes the change",
            404: "the Hub has no such repo, or hides it: check the name, or log in with `hf auth login`",
            429: f"too many requests: the Hub asks to wait {self.wait or 0:.0f} s; run again then, nothing is written twice",
        }
        if isinstance(self.error, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE forbids to ask the Hub; run without it"
        if self.overtaken:
            return "others write there all the time, this change did not get through; run again"
        if self.status in known:
            return known[self.status]
        if self.passes:
            answer = f"answers {self.status}" if self.status else "cannot be reached, or the line was cut"
            return f"the Hub {answer} ({_words(self.error, token)}); run again, nothing is written twice"
        return f"the Hub refuses ({_words(self.error, token)})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def _wait(headers: object) -> float | None:
    """The seconds that `Retry-After` or the header of the rate limit ask for."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    stated = str(getattr(headers, "get", lambda _: None)("retry-after") or "")
    return float(stated) if stated.isdigit() else None


def _words(error: Exception, token: str | None) -> str:
    """The server's own words where it gave some, else the client's first line."""
    stated = getattr(error, "server_message", None)
    return said(" ".join(str(stated).split()) if stated else error, token)
