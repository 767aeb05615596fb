"""Single files of model repos on the Hub, at one revision, with errors that say what to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet.download.hubcache import COMMIT, known_file, note_absent, sound
from securitynet.errors import DownloadError
from securitynet.tokens import said

log = logging.getLogger(__name__)
OUTAGES = (408, 429, 500, 502, 503, 504)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class Unreachable(DownloadError):
    """The cache does not know a file, and the Hub cannot be asked. `transient`: not because it is not to be asked."""

    def __init__(self, text: str, transient: bool = True) -> None:
        super().__init__(text)
        self.transient = transient


@dataclass(frozen=True)
class Repo:
    """A model repo at a revision (None: its newest); `label` names it in messages."""

    id: str
    revision: str | None
    label: str
    offline: bool = False
    progress: bool = True

    def file(self, name: str) -> Path:
        """Return the path of one file in the Hub's cache, fetched if need be. Raises DownloadError."""
        path = self.find(name)
        if path is None:
            raise DownloadError(f"{self.label}: the repo {self.id} has no file {name}")
        return path

    def find(self, name: str) -> Path | None:
        """Return the path of one file, None where the repo has no such file. Raises DownloadError, Unreachable among them.

        At a commit, what the cache knows holds: nobody is asked. Otherwise the Hub is asked for the newest, and where it cannot
        be, the cache answers.
        """
        from huggingface_hub import is_offline_mode

        pinned = COMMIT.fullmatch(self.revision or "") is not None
        known = known_file(self.id, name, self.revision) if pinned else None
        if known is not None:
            return known.path
        if (trouble := self._trouble(name)) is None:
            try:
                return self._fetched(name)
            except Unreachable as error:  # the line broke after the first question
                trouble = f"{error.__cause__ or error}"
        known = None if pinned else known_file(self.id, name, self.revision)
        if known is None:
            text = f"{self.label}: {name} of {self.id} is not in the Hub's cache, and {said(trouble, most=240)}"
            raise Unreachable(text, transient=not (self.offline or is_offline_mode()))
        if not self.offline:
            log.info("%s: %s comes from the Hub's cache: %s", self.label, name, trouble)
        return known.path

    def optional(self, name: str) -> Path | None:
        """Return the path of a file that the repo may have, None where it has none, or nobody can be asked. Raises DownloadError."""
        try:
            return self.find(name)
        except Unreachable as error:
            log.debug("%s; taken as absent", error)
            return None

    def has(self, name: str) -> bool:
        """Say whether the repo has a file, without fetching it; what nobody can be asked about, and the cache lacks, counts as absent."""
        from huggingface_hub import try_to_load_from_cache

        absent: list[str] = []
        cached = try_to_load_from_cache(self.id, name, revision=self.revision)
        if cached is not None and (self.offline or COMMIT.fullmatch(self.revision or "")):
            return isinstance(cached, str)
        return isinstance(cached, str) if self._trouble(name, absent) else not absent

    def _fetched(self, name: str) -> Path | None:
        """The file from the Hub, where the cache has no newer one; a damaged one is fetched once more."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
        from huggingface_hub.utils import httpx

        bar = {} if self.progress else {"tqdm_class": _silent()}
        try:
            path = Path(hf_hub_download(self.id, name, revision=self.revision, **bar))
            return path if sound(path) else Path(hf_hub_download(self.id, name, revision=self.revision, **bar))
        except (LocalEntryNotFoundError, httpx.TransportError) as error:
            raise Unreachable(f"{self.label}: {name} of {self.id} did not arrive") from error
        except EntryNotFoundError:
            note_absent(self.id, name, self.revision)
            return None
        except (httpx.HTTPError, HFValidationError, ValueError) as error:
            raise self._refused(error) from None  # a server may repeat the token

    def _trouble(self, name: str, absent: list[str] | None = None) -> str | None:
        """Say why the Hub cannot be asked, None where it can. The client itself would try, and complain, for half a minute.

        Where the Hub has no such file, the cache keeps that, and its name is added to `absent`.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
        from huggingface_hub.utils import httpx

        if self.offline:
            return "no network is to be used; run once without --offline"
        try:
            get_hf_file_metadata(hf_hub_url(self.id, name, revision=self.revision))
        except OfflineModeIsEnabled:
            return "HF_HUB_OFFLINE forbids to ask the Hub; run once without it"
        except EntryNotFoundError:
            note_absent(self.id, name, self.revision)
            if absent is not None:
                absent.append(name)
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code not in OUTAGES:
                raise self._refused(error) from None  # a server may repeat the token
            return f"the Hub answers {error.response.status_code}; run again later"
        except httpx.TransportError as error:
            return f"the Hub cannot be reached ({said(error)}); check the network and run again"
        except (httpx.HTTPError, httpx.InvalidURL, HFValidationError, ValueError, OSError) as error:
            raise self._refused(error) from None  # a server may repeat the token
        return None

    def weights(self) -> Path:
        """Return the path of the weights: safetensors where the repo has them. Raises DownloadError."""
        for name in WEIGHTS:
            if (path := self.find(name)) is not None:
                return path
        raise DownloadError(f"{self.label}: the repo {self.id} has none of {', '.join(WEIGHTS)}; name the file in weights_file")

    def pinned(self, path: Path) -> str | None:
        """Return the commit that a file of this repo came from, as its place in the Hub's cache says."""
        parents = [part.name for part in path.parents if part.parent.name == "snapshots"]
        return parents[0] if parents and COMMIT.fullmatch(parents[0]) else None

    def _refused(self, error: Exception) -> DownloadError:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        reasons: tuple[tuple[Any, str], ...] = (
            (GatedRepoError, "is gated: accept its terms on its page and log in with `hf auth login`"),
            (RepositoryNotFoundError, "does not exist on the Hub, or is private: check the name, or log in with `hf auth login`"),
            (RevisionNotFoundError, f"has no revision {self.revision}"),
        )
        for kind, reason in reasons:
            if isinstance(error, kind):
                return DownloadError(f"{self.label}: the repo {self.id} {reason}")
        return DownloadError(f"{self.label}: the Hub refuses {self.id} ({said(' '.join(str(error).split()))})")


def _silent() -> Any:
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):  # type: ignore[misc]
        """A progress bar that shows nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))

    return Silent
