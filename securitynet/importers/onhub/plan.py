"""Which files of which repos are read, within a number of requests per repo; the same listing always gives the same plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from securitynet.importers.onhub.listed import names_classes, weights_of
from securitynet.importers.onhub.zoos import zoo_of

RATIO = 1.2  # file requests per repo: 20,000 repos take 40 minutes without a token


class Need(NamedTuple):
    """One request: HEAD of a weights file (commit, size, hash), or GET of a small file, of a repo at a commit."""

    method: str
    repo: str
    sha: str
    file: str

    @property
    def key(self) -> str:
        """What the answer is kept under."""
        return "\n".join(self)


class Repo(NamedTuple):
    """What the plan must know of a listed repo, which itself stays on disk at `place`."""

    id: str
    sha: str
    downloads: int
    gated: bool
    wishes: tuple[tuple[int, str, str], ...]  # (rank, method, file)
    place: int


def repo_of(listed: Mapping[str, Any], place: int) -> Repo:
    """Return a reduced repo with the requests that it is worth, by rank: 1 its classes, 2 its zoo's card, 3 its hash, 4 its processor."""
    wishes, files, weights = [], listed["files"], weights_of(listed)
    if not listed["gated"]:
        if "config.json" in files and not names_classes(listed):
            wishes.append((1, "GET", "config.json"))
        if "README.md" in files and zoo_of(listed["id"]) is not None:
            wishes.append((2, "GET", "README.md"))
        if weights is not None and not files[weights] and not weights.endswith(".json"):
            wishes.append((3, "HEAD", weights))
        if "architecture" not in listed["config"] and "preprocessor_config.json" in files:
            wishes.append((4, "GET", "preprocessor_config.json"))
    return Repo(listed["id"], listed["sha"], listed["downloads"], listed["gated"], tuple(wishes), place)


def planned(repos: Iterable[Repo], known: Mapping[str, Iterable[str]], ratio: float = RATIO) -> list[Need]:
    """Return the requests, the most useful first: weights of entries that the catalog has (`known`: files by repo), then by rank.

    Within a rank, what is downloaded most goes first. At most `ratio` requests per repo, rounded down.
    """
    repos = sorted(repos, key=lambda repo: (-repo.downloads, repo.id))
    needs = [need for rank in range(5) for need in _ranked(repos, known, rank)]
    return needs[: int(ratio * len(repos))]


def _ranked(repos: Iterable[Repo], known: Mapping[str, Iterable[str]], rank: int) -> Iterator[Need]:
    for repo in repos:
        if repo.id in known:
            files = sorted(known[repo.id]) if rank == 0 and not repo.gated else []
            yield from (Need("HEAD", repo.id, repo.sha, file) for file in files)
        else:
            yield from (Need(method, repo.id, repo.sha, file) for at, method, file in repo.wishes if at == rank)
