"""What the Hub keeps: the content of files by sha256 on disk, repos with their commits in memory."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

KINDS = ("models", "datasets", "spaces")
FRONT_MATTER = re.compile(r"\s*---\r?\n(.*?)\r?\n---", re.DOTALL)


class HubError(Exception):
    """An answer other than success; `code` is what the clients read from the header X-Error-Code."""

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Request(NamedTuple):
    """One request that was answered; `sent` counts the bytes of the answer's body."""

    method: str
    path: str
    query: str
    status: int
    sent: int


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path holds `path`.

    `status` is the answer, 0 a line that is cut; with `done` the request is carried out, only its answer is lost. In `message`,
    {token} is the token that came with the request.
    """

    method: str
    path: str
    status: int
    times: int = 1
    done: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "out of order"


@dataclass(frozen=True)
class User:
    """Who a token belongs to, and the organisations they may write to."""

    name: str
    orgs: tuple[str, ...] = ()

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The user's own name and their organisations."""
        return (self.name, *self.orgs)


@dataclass(frozen=True)
class File:
    """A file in a commit. `oid` is git's: of the content, or of the LFS pointer that stands for it."""

    sha256: str
    size: int
    oid: str
    pointer_size: int | None = None

    @property
    def lfs(self) -> bool:
        """Whether git holds a pointer in its place."""
        return self.pointer_size is not None


Tree = dict[str, File]


@dataclass(frozen=True)
class Commit:
    """The whole tree after a change, and where it came from."""

    parent: str | None
    tree: Tree
    title: str
    message: str
    author: str
    date: str


@dataclass
class Discussion:
    """A discussion or a pull request; `merged` is the commit that merged it."""

    title: str
    author: str
    pull_request: bool
    status: str
    created: str
    merged: str | None = None


@dataclass
class Repo:
    """A repo: commits by sha, and the names that point at them."""

    kind: str
    id: str
    private: bool = False
    sdk: str | None = None
    gated: bool | str = False
    created: str = ""
    modified: str = ""
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    prs: dict[str, str] = field(default_factory=dict)
    discussions: list[Discussion] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """The user or organisation that owns it."""
        return self.id.split("/")[0]

    @property
    def path(self) -> str:
        """Its place on the site: models lie at the root."""
        return self.id if self.kind == "models" else f"{self.kind}/{self.id}"

    def resolve(self, revision: str) -> str:
        """Return the sha that a sha, its first seven or more digits, a branch, a tag or a pull request names."""
        if revision in self.commits:
            return revision
        for names in (self.branches, self.tags, self.prs):
            for name in (revision, revision.removeprefix("refs/heads/")):
                if name in names:
                    return names[name]
        close = [sha for sha in self.commits if len(revision) >= 7 and sha.startswith(revision)]
        if len(close) != 1:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return close[0]

    def tree(self, revision: str) -> Tree:
        """Return the files at `revision`."""
        return self.commits[self.resolve(revision)].tree

    def commit(self, parent: str | None, tree: Tree, title: str, message: str, author: str) -> str:
        """Add a commit and return its sha; no name points at it yet."""
        content = repr((parent, sorted(tree.items()), title, time.time_ns()))
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.modified = now()
        self.commits[sha] = Commit(parent, tree, title, message, author, self.modified)
        return sha

    def history(self, sha: str | None) -> Iterator[str]:
        """Yield `sha` and its ancestors, newest first."""
        while sha is not None:
            yield sha
            sha = self.commits[sha].parent


class Hub:
    """The state of the Hub. `requests` lists what was answered; `users` maps tokens to people; `faults` are still to come."""

    def __init__(self, root: Path, users: dict[str, User] | None = None) -> None:
        self.root = Path(root).resolve()
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)
        self.users = users or {"hf_test": User("tester", ("securitynet",))}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()

    def repo(self, kind: str, repo_id: str) -> Repo:
        """Return a repo, or raise the error that the clients know."""
        if (kind, repo_id) not in self.repos:
            raise HubError(404, "RepoNotFound", f"{kind}/{repo_id}: Repository not found")
        return self.repos[kind, repo_id]

    def fault(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with a request; it is used up by that."""
        with self.lock:
            found = next((one for one in self.faults if one.times and one.method == method and one.path in path), None)
            if found is not None:
                found.times -= 1
            return found

    def blob(self, sha256: str) -> Path:
        """Return where content with this sha256 lies, or would lie."""
        return self.root / "blobs" / sha256

    def put(self, data: bytes) -> str:
        """Store content and return its sha256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.blob(sha256).exists():
            self.blob(sha256).write_bytes(data)
        return sha256

    def file(self, data: bytes) -> File:
        """Store content as a plain file of a commit."""
        return File(self.put(data), len(data), git_oid(data))

    def pointer(self, sha256: str, size: int) -> File:
        """Return the LFS file of content that is here already."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return File(sha256, size, git_oid(text), len(text))

    def card(self, tree: Tree) -> dict[str, Any]:
        """Return the metadata of README.md, empty where there is none."""
        readme = tree.get("README.md")
        found = FRONT_MATTER.match(self.blob(readme.sha256).read_text("utf-8")) if readme else None
        return (yaml.safe_load(found.group(1)) or {}) if found else {}


def git_oid(data: bytes) -> str:
    """Return git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def hex_id(text: str) -> str:
    """Return a stable 40-digit id of a name."""
    return hashlib.sha1(text.encode()).hexdigest()


def now() -> str:
    """Return the time as the Hub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
