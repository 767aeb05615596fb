"""Single files of model repos on the Hub, at one revision, with errors that say what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet.errors import DownloadError

COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


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
        """Return the path of one file, None where the repo has no such file. Raises DownloadError."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
        from huggingface_hub.utils import httpx

        bar = {} if self.progress else {"tqdm_class": _silent()}
        trouble = None
        try:
            trouble = self._trouble(name)
            return Path(hf_hub_download(self.id, name, revision=self.revision, local_files_only=trouble is not None, **bar))
        except LocalEntryNotFoundError as error:  # neither the Hub nor the cache has an answer
            cause = trouble or " ".join(str(error).split())[:200]
            raise DownloadError(f"{self.label}: {name} of {self.id} is not in the Hub's cache, and {cause}") from error
        except EntryNotFoundError:
            return None
        except (httpx.HTTPError, HFValidationError) as error:
            raise self._refused(error) from error

    def _trouble(self, name: str) -> str | None:
        """Say why the Hub cannot be asked, None where it can. The client itself would try, and complain, for half a minute."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.utils import httpx

        if self.offline:
            return "no network is to be used; run once without --offline"
        try:
            get_hf_file_metadata(hf_hub_url(self.id, name, revision=self.revision))
        except OfflineModeIsEnabled:
            return "HF_HUB_OFFLINE forbids to ask the Hub; run once without it"
        except httpx.TransportError as error:
            return f"the Hub cannot be reached ({' '.join(str(error).split())[:200]}); check the network and run again"
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
        cause = " ".join(str(error).split())[:200]
        return DownloadError(f"{self.label}: the Hub refuses {self.id} ({cause})")


def _silent() -> Any:
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):  # type: ignore[misc]
        """A progress bar that shows nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))

    return Silent
