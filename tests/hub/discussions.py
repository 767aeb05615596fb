"""Endpoints on discussions and pull requests: open, read, merge, close."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from hub.call import Call
from hub.store import Discussion, HubError, Repo, now


def open_pull_request(repo: Repo, title: str, author: str, status: str, sha: str) -> int:
    """Add a pull request whose head is `sha`; return its number."""
    repo.discussions.append(Discussion(title, author, True, status, now()))
    number = len(repo.discussions)
    repo.prs[f"refs/pr/{number}"] = sha
    return number


def discussions(call: Call) -> Response:
    """List the discussions of a repo."""
    repo = call.repo()
    described = [_describe(repo, number) for number in range(1, len(repo.discussions) + 1)]
    return JSONResponse({"discussions": described, "count": len(described), "start": 0})


def start(call: Call) -> Response:
    """Open a discussion, or a draft of a pull request from main."""
    with call.hub.lock:
        repo, body, author = call.repo(), call.json(), call.signed_in().name
        pull_request = bool(body.get("pullRequest"))
        if pull_request:
            number = open_pull_request(repo, body["title"], author, "draft", repo.branches["main"])
        else:
            repo.discussions.append(Discussion(body["title"], author, False, "open", now()))
            number = len(repo.discussions)
    return JSONResponse({"num": number, "pullRequest": pull_request, "url": f"{call.base}{repo.path}/discussions/{number}"})


def discussion(call: Call) -> Response:
    """Describe one discussion."""
    return JSONResponse(_describe(call.repo(), int(call.params["number"])))


def merge(call: Call) -> Response:
    """Merge a pull request into main."""
    with call.hub.lock:
        repo = call.repo(write=True)
        number = int(call.params["number"])
        found = _find(repo, number)
        main = repo.branches["main"]
        tree = _merged(repo, main, repo.prs[f"refs/pr/{number}"])
        found.merged = repo.commit(main, tree, f"{found.title} (#{number})", "", found.author)
        repo.branches["main"], found.status = found.merged, "merged"
    return JSONResponse({"newStatus": found.status})


def change_status(call: Call) -> Response:
    """Close or reopen a discussion."""
    found = _find(call.repo(write=True), int(call.params["number"]))
    found.status = call.json()["status"]
    return JSONResponse({"newStatus": found.status})


def _merged(repo: Repo, main: str, head: str) -> dict[str, Any]:
    """The tree of main with what changed between the common ancestor and `head`."""
    ancestors = set(repo.history(main))
    base = next(sha for sha in repo.history(head) if sha in ancestors)
    old, new, tree = repo.commits[base].tree, repo.commits[head].tree, dict(repo.commits[main].tree)
    for path in old.keys() | new.keys():
        if old.get(path) != new.get(path):
            tree.pop(path, None)
            tree |= {path: new[path]} if path in new else {}
    return tree


def _find(repo: Repo, number: int) -> Discussion:
    if not 1 <= number <= len(repo.discussions):
        raise HubError(404, None, f"Discussion {number} not found")
    return repo.discussions[number - 1]


def _describe(repo: Repo, number: int) -> dict[str, Any]:
    found = _find(repo, number)
    described = {
        "num": number,
        "title": found.title,
        "status": found.status,
        "isPullRequest": found.pull_request,
        "createdAt": found.created,
        "repo": {"name": repo.id, "type": repo.kind[:-1]},
        "author": {"name": found.author},
        "events": [],
        "filesWithConflicts": [],
        "diff": "",
        "changes": {"base": "refs/heads/main", "mergeCommitId": found.merged},
    }
    return described | ({"_head": repo.prs[f"refs/pr/{number}"]} if found.pull_request else {})
