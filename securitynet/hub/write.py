"""One change of one repo on the Hub: planned on its newest commit, planned again where another writer was faster."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from securitynet.download.hubcache import sound
from securitynet.errors import HubError, UsageError
from securitynet.hub.errors import Trouble
from securitynet.tokens import said

log = logging.getLogger(__name__)
T = TypeVar("T")
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before trying again, where the Hub does not say how long
LONGEST = 600.0  # seconds that a person may be made to wait without asking
RACES = 30  # each lost one is another writer's success


@dataclass(frozen=True)
class Change:
    """What a commit does: files by path in the repo (content, or where it lies on this disk), and paths to delete."""

    title: str
    files: Mapping[str, bytes | Path]
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pushed:
    """What a push did: the commit at which the repo has it, the address to look at, files written (0: all was there already).

    `pull_request` is its number where one was asked for; `rows` counts rows of results that were new.
    """

    repo: str
    commit: str
    url: str
    files: int = 0
    pull_request: int | None = None
    rows: int | None = None
    tag: str | None = None


@dataclass(frozen=True)
class Remote:
    """A repo on the Hub; `kind` is model, dataset or space. `token` None: that of the environment or of `hf auth login`."""

    id: str
    kind: str = "model"
    private: bool | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def api(self) -> Any:
        """The Hub's client."""
        from huggingface_hub import HfApi

        return HfApi(token=self.token)

    @property
    def url(self) -> str:
        """The page of the repo."""
        return f"{self.api.endpoint}/{'' if self.kind == 'model' else self.kind + 's/'}{self.id}"

    def checked(self) -> Remote:
        """Return this repo where its name is ORG/NAME. Raises UsageError."""
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.id)
        except HFValidationError as error:
            raise UsageError(f"{self.id!r} is no name of a repo: it is ORG/NAME, of letters, digits, '-', '_' and '.'") from error
        if "/" not in self.id:
            raise UsageError(f"{self.id!r} names no owner: write ORG/{self.id}, or your own name before the slash")
        return self

    def head(self) -> str | None:
        """Return the newest commit, None where there is no such repo."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return str(self.api.repo_info(self.id, repo_type=self.kind).sha)
        except RepositoryNotFoundError:
            return None

    def read(self, path: str, revision: str) -> bytes | None:
        """Return the content of a file at a commit, None where there is none."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

        def fetched() -> Path:
            return Path(hf_hub_download(self.id, path, repo_type=self.kind, revision=revision, token=self.token))

        try:
            place = fetched()
            return place.read_bytes() if sound(place) else fetched().read_bytes()
        except RemoteEntryNotFoundError:
            return None
        except LocalEntryNotFoundError as error:  # the line was cut; what matters is the cause
            raise (error.__cause__ if isinstance(error.__cause__, Exception) else error) from None

    def again(self, path: str, revision: str) -> Path:
        """Return where a file at a commit lies, fetched anew whatever the cache holds."""
        from huggingface_hub import hf_hub_download

        options = {"repo_type": self.kind, "revision": revision, "token": self.token, "force_download": True}
        return Path(hf_hub_download(self.id, path, **options))

    def paths(self, revision: str) -> list[str]:
        """Return the paths of all files at a commit."""
        return list(self.api.list_repo_files(self.id, repo_type=self.kind, revision=revision))

    def hashes(self, revision: str) -> dict[str, str]:
        """Return the sha256 of each large file at a commit, by path; small ones have none on the Hub."""
        found = self.api.list_repo_tree(self.id, recursive=True, repo_type=self.kind, revision=revision)
        return {one.path: str(one.lfs.sha256) for one in found if getattr(one, "lfs", None) is not None}

    def folder(self, revision: str, patterns: list[str]) -> Path:
        """Return the folder with the files at a commit that fit the patterns; those that lie damaged in the cache are fetched again."""
        from huggingface_hub import snapshot_download

        def fetched() -> Path:
            return Path(snapshot_download(self.id, repo_type=self.kind, revision=revision, allow_patterns=patterns, token=self.token))

        place = fetched()
        damaged = [path for pattern in patterns for path in place.glob(pattern) if path.is_file() and not sound(path)]
        return fetched() if damaged else place


def patiently(remote: Remote, step: Callable[[], T]) -> T:
    """Return what `step` returns; tried again where the Hub is busy or another writer was faster. Raises HubError, UsageError."""
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    waits, races = list(WAITS), RACES
    while True:
        try:
            return step()
        except (httpx.HTTPError, HFValidationError, OfflineModeIsEnabled, LocalTokenNotFoundError, RuntimeError) as error:
            trouble = Trouble.of(error)
            if type(error) is RuntimeError and trouble.status is None and not trouble.passes:
                raise
        if trouble.overtaken and races:
            races -= 1
            time.sleep(random.uniform(0.05, 0.5))
        elif trouble.passes and waits and (trouble.wait or 0) <= LONGEST:
            _sleep(remote, trouble, waits.pop(0))
        else:
            raise trouble.explained(remote.id, token_of(remote)) from None  # the client's words may repeat what was sent


def token_of(remote: Remote) -> str | None:
    """Return the token that is sent, None where there is none."""
    from huggingface_hub import get_token

    return remote.token or get_token()


def _sleep(remote: Remote, trouble: Trouble, wait: float) -> None:
    seconds = wait if trouble.wait is None else trouble.wait + 0.1
    log.info("%s: the Hub %s; again in %.0f s", remote.id, f"answers {trouble.status}" if trouble.status else "did not answer", seconds)
    time.sleep(seconds)


def write(
    remote: Remote, plan: Callable[[str], Change | None], *, create_pr: bool = False, sdk: str | None = None, create: bool = True
) -> Pushed:
    """Make one commit, or open one pull request, and return what was done.

    `plan` is given the newest commit and says what to change (None: nothing); it is asked again on the newer commit where another
    writer was faster. A repo that is missing is created first, not for a pull request, nor without `create`. Raises HubError, UsageError.
    """
    remote.checked()

    def step() -> Pushed:
        head = remote.head()
        if head is None and (create_pr or not create):
            aim = "open a pull request on" if create_pr else "add to"
            raise HubError(f"{remote.id}: the Hub has no such repo to {aim}, or hides it; check the name")
        if head is None:
            remote.api.create_repo(remote.id, repo_type=remote.kind, private=remote.private, space_sdk=sdk, exist_ok=True)
            log.info("%s: created", remote.id)
            head = str(remote.head())
        change = plan(head)
        if change is None:
            return Pushed(remote.id, head, remote.url)
        return _proposed(remote, change, head) if create_pr else _committed(remote, change, head)

    return patiently(remote, step)


def _committed(remote: Remote, change: Change, head: str) -> Pushed:
    info = _commit(remote, change, head)
    written = 0 if info.oid == head else len(change.files) + len(change.deleted)
    return Pushed(remote.id, info.oid, remote.url if not written else info.commit_url, written)


def _proposed(remote: Remote, change: Change, head: str) -> Pushed:
    """Open a pull request, unless the same one is open already: the answer to an earlier call may have been lost."""
    for known in remote.api.get_repo_discussions(remote.id, repo_type=remote.kind):
        if known.is_pull_request and known.title == change.title and known.status == "open":
            revision = f"refs/pr/{known.num}"
            commit = str(remote.api.repo_info(remote.id, repo_type=remote.kind, revision=revision).sha)
            return Pushed(remote.id, commit, f"{remote.url}/discussions/{known.num}", 0, known.num)
    info = _commit(remote, change, head, create_pr=True)
    if info.oid == head:
        return Pushed(remote.id, head, remote.url)
    return Pushed(remote.id, info.oid, info.pr_url or remote.url, len(change.files), info.pr_num)


def _commit(remote: Remote, change: Change, head: str, create_pr: bool = False) -> Any:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [CommitOperationAdd(path, content) for path, content in sorted(change.files.items())]
    deleted = [CommitOperationDelete(path) for path in change.deleted]
    options = {"repo_type": remote.kind, "parent_commit": head, "create_pr": create_pr}
    try:
        return remote.api.create_commit(remote.id, [*added, *deleted], commit_message=change.title, **options)
    except ValueError as error:  # the Hub's check of the card
        if getattr(error, "response", None) is not None:
            raise
        raise HubError(f"{remote.id}: the Hub refuses the card ({said(' '.join(str(error).split()), token_of(remote))})") from None
