"""Endpoints that write: preupload, LFS, Xet tokens, commits, branches and tags, checks of the card."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import time
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import yaml
from starlette.responses import JSONResponse, Response

from hub import xet
from hub.call import Call
from hub.discussions import open_pull_request
from hub.files import LFS_PATTERNS
from hub.store import FRONT_MATTER, File, Hub, HubError, Tree

LARGE = 10 * 2**20


def preupload(call: Call) -> Response:
    """Say how each file is to be sent, and its oid where the repo has it already."""
    repo = call.repo(write=not call.flag("create_pr"))
    present = repo.tree(call.revision)
    answers = []
    for asked in call.json()["files"]:
        mode = "lfs" if _is_lfs(asked["path"], asked["size"], base64.b64decode(asked.get("sample") or "")) else "regular"
        known = _known_oid(present.get(asked["path"]))
        answers.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known})
    return JSONResponse({"files": answers, "commitOid": repo.branches["main"]})


def _is_lfs(path: str, size: int, sample: bytes) -> bool:
    name = PurePosixPath(path).name
    return size > LARGE or any(fnmatch.fnmatch(name, pattern) for pattern in LFS_PATTERNS) or b"\0" in sample


def _known_oid(file: File | None) -> str | None:
    if file is None:
        return None
    return file.sha256 if file.lfs else file.oid


def lfs_batch(call: Call) -> Response:
    """Say where content is to be put; none where it is here already."""
    call.writer(call.repo().namespace)
    objects = []
    for asked in call.json()["objects"]:
        answer: dict[str, Any] = {"oid": asked["oid"], "size": asked["size"]}
        if not call.hub.blob(asked["oid"]).exists():
            href = f"{call.base}_lfs/{asked['oid']}"
            answer["actions"] = {"upload": {"href": href, "header": {}}, "verify": {"href": f"{href}/verify", "header": {}}}
        objects.append(answer)
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")


def lfs_put(call: Call) -> Response:
    """Take content."""
    if hashlib.sha256(call.body).hexdigest() != call.params["oid"]:
        raise HubError(400, None, "sha256 mismatch")
    call.hub.put(call.body)
    return Response(status_code=200)


def lfs_verify(call: Call) -> Response:
    """Say whether content arrived."""
    return Response(status_code=200 if call.hub.blob(call.params["oid"]).exists() else 404)


def xet_token(call: Call) -> Response:
    """Name the Xet store, a folder of this machine."""
    call.repo(write=call.params["access"] == "write")
    expires, store = int(time.time()) + 3600, f"local://{xet.store(call.hub)}"
    headers = {"X-Xet-Cas-Url": store, "X-Xet-Access-Token": "t", "X-Xet-Token-Expiration": str(expires)}
    return JSONResponse({"accessToken": "t", "exp": expires, "casUrl": store}, headers=headers)


def commit(call: Call) -> Response:
    """Apply a commit to a branch or a pull request, or open a pull request with it."""
    as_request = call.flag("create_pr")
    with call.hub.lock:
        repo = call.repo(write=not as_request)
        author = call.signed_in().name
        header, *changes = [json.loads(line) for line in call.body.splitlines() if line.strip()]
        head, parent = header["value"], repo.resolve(call.revision)
        if not parent.startswith(head.get("parentCommit") or ""):
            raise HubError(412, None, "A commit has happened since. Please refresh and try again.")
        if not as_request and call.revision not in (*repo.branches, *repo.prs):
            raise HubError(400, None, f"cannot commit to {call.revision}")
        files = dict(repo.commits[parent].tree)
        for change in changes:
            _apply(call.hub, files, change["key"], change["value"])
        sha = repo.commit(parent, files, head["summary"], head.get("description", ""), author)
        url = call.base + repo.path
        answer = {"success": True, "commitOid": sha, "commitUrl": f"{url}/commit/{sha}", "hookOutput": ""}
        if as_request:
            number = open_pull_request(repo, head["summary"], author, "open", sha)
            answer["pullRequestUrl"] = f"{url}/discussions/{number}"
        else:
            (repo.prs if call.revision in repo.prs else repo.branches)[call.revision] = sha
    return JSONResponse(answer)


def _apply(hub: Hub, files: Tree, key: str, value: dict[str, Any]) -> None:
    """Make one line of a commit true of `files`."""
    path = value["path"]
    if key == "file":
        files[path] = hub.file(base64.b64decode(value["content"]))
    elif key == "lfsFile":
        if not hub.blob(value["oid"]).exists() and not xet.fetch(hub, value["oid"], value["size"]):
            raise HubError(400, None, f"LFS pointer points to a file that does not exist: {path}")
        files[path] = hub.pointer(value["oid"], hub.blob(value["oid"]).stat().st_size)
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise HubError(404, "EntryNotFound", "A file with this name doesn't exist")
    elif key == "deletedFolder":
        for name in [name for name in files if name.startswith(path.rstrip("/") + "/")]:
            del files[name]
    else:
        raise HubError(400, None, f"unknown operation {key}")


def edit_ref(call: Call) -> Response:
    """Create or delete a branch or a tag."""
    with call.hub.lock:
        repo, name, body = call.repo(write=True), unquote(call.params["ref"]), call.json()
        tag = call.params["reftype"] == "tag"
        names = repo.tags if tag else repo.branches
        if call.method == "DELETE":
            if names.pop(name, None) is None:
                raise HubError(404, "RevisionNotFound", f"Ref {name} not found")
            return JSONResponse({})
        created, start = (body["tag"], name) if tag else (name, body.get("startingPoint") or "main")
        if created in names:
            raise HubError(409, None, "Tag reference exists already" if tag else "Reference already exists")
        names[created] = repo.resolve(start)
    return JSONResponse({})


def validate_card(call: Call) -> Response:
    """Check that the front matter of a card is YAML."""
    found = FRONT_MATTER.match(call.json()["content"])
    if found is None:
        warning = {"message": "empty or missing yaml metadata in repo card"}
        return JSONResponse({"errors": [], "warnings": [warning]})
    try:
        yaml.safe_load(found.group(1))
    except yaml.YAMLError as error:
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, status_code=400)
    return JSONResponse({"errors": [], "warnings": []})
