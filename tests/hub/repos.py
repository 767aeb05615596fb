"""Endpoints on people and repos: who am I, create, delete, settings, info, listing, leaderboard."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import yaml
from starlette.responses import JSONResponse, Response

from hub.call import Call
from hub.files import LFS_PATTERNS
from hub.store import File, Hub, Repo, hex_id, now


def whoami(call: Call) -> Response:
    """Tell who the token belongs to."""
    user = call.signed_in()
    orgs = [{"type": "org", "id": org, "name": org, "fullname": org, "roleInOrg": "admin"} for org in user.orgs]
    token = {"displayName": "test", "role": "write", "createdAt": now()}
    person = {"type": "user", "id": "1", "name": user.name, "fullname": user.name, "email": "tester@example.org"}
    state = {"emailVerified": True, "isPro": False, "canPay": False}
    return JSONResponse({**person, **state, "orgs": orgs, "auth": {"type": "access_token", "accessToken": token}})


def create(call: Call) -> Response:
    """Create a repo with its .gitattributes; 409 with the address where it exists."""
    body, user = call.json(), call.signed_in()
    namespace = body.get("organization") or user.name
    call.writer(namespace)
    private = bool(body.get("private")) or body.get("visibility") == "private"
    repo = Repo(body.get("type", "model") + "s", f"{namespace}/{body['name']}", private, body.get("sdk"), created=now())
    url = call.base + repo.path
    with call.hub.lock:
        if (repo.kind, repo.id) in call.hub.repos:
            return JSONResponse({"error": "You already created this repo", "url": url}, status_code=409)
        attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS)
        tree = {".gitattributes": call.hub.file(attributes.encode())}
        repo.branches["main"] = repo.commit(None, tree, "initial commit", "", user.name)
        call.hub.repos[repo.kind, repo.id] = repo
    return JSONResponse({"url": url, "name": repo.id, "id": hex_id(repo.id)[:24]})


def delete(call: Call) -> Response:
    """Delete a repo."""
    body = call.json()
    namespace = body.get("organization") or call.signed_in().name
    call.writer(namespace)
    repo = call.hub.repo(body.get("type", "model") + "s", f"{namespace}/{body['name']}")
    del call.hub.repos[repo.kind, repo.id]
    return JSONResponse({})


def settings(call: Call) -> Response:
    """Change visibility and gating."""
    repo, body = call.repo(write=True), call.json()
    with call.hub.lock:
        repo.private = bool(body.get("private", repo.private))
        if "visibility" in body:
            repo.private = body["visibility"] == "private"
        repo.gated = body.get("gated", repo.gated)
    return JSONResponse({"private": repo.private, "gated": repo.gated})


def info(call: Call) -> Response:
    """Describe a repo at a revision; `expand` picks keys."""
    repo = call.repo()
    described = describe(call.hub, repo, repo.resolve(call.revision), blobs=call.flag("blobs"))
    expand = call.query.getlist("expand")
    return JSONResponse({key: described[key] for key in ("_id", "id", *expand) if key in described} if expand else described)


def listing(call: Call) -> Response:
    """List public repos of a kind by author, text, task and tags, page by page; `expand` picks keys."""
    kind, query = call.params["kind"], call.query
    found, expand = [], query.getlist("expand")
    for repo in list(call.hub.repos.values()):
        if repo.kind != kind or repo.private or query.get("author", repo.namespace) != repo.namespace:
            continue
        described = describe(call.hub, repo, repo.branches["main"])
        tags = {*described["tags"], described.get("library_name"), described.get("pipeline_tag")}
        if query.get("search", "").lower() not in repo.id.lower() or not set(query.getlist("filter")) <= tags:
            continue
        if query.get("pipeline_tag", described.get("pipeline_tag")) != described.get("pipeline_tag"):
            continue
        if kind == "models" and not query.get("full") and not expand:
            del described["siblings"]
        found.append({key: described[key] for key in ("_id", "id", *expand) if key in described} if expand else described)
    found.sort(key=lambda one: one["id"])
    start, size = int(query.get("cursor", 0)), int(query.get("limit", 1000))
    rest = urlencode([(key, value) for key, value in query.multi_items() if key != "cursor"] + [("cursor", str(start + size))])
    more = {"Link": f'<{call.base}api/{kind}?{rest}>; rel="next"'} if start + size < len(found) else {}
    return JSONResponse(found[start : start + size], headers=more)


def auth_check(call: Call) -> Response:
    """Answer whether the repo may be read."""
    call.repo()
    return JSONResponse({})


def describe(hub: Hub, repo: Repo, sha: str, blobs: bool = False) -> dict[str, Any]:
    """Return what the Hub tells of a repo at a commit; `blobs` adds sizes and hashes of the files."""
    tree = repo.commits[sha].tree
    card = hub.card(tree)
    described = {
        "_id": hex_id(repo.id)[:24],
        "id": repo.id,
        "author": repo.namespace,
        "sha": sha,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "lastModified": repo.modified,
        "createdAt": repo.created,
        "downloads": 0,
        "likes": 0,
        "tags": list(card.get("tags") or []),
        "cardData": card,
        "siblings": [_sibling(path, file, blobs) for path, file in sorted(tree.items())],
        "usedStorage": sum(file.size for file in tree.values()),
    }
    if repo.kind == "models":
        described |= {"modelId": repo.id, "library_name": card.get("library_name"), "pipeline_tag": card.get("pipeline_tag")}
        described["evalResults"] = eval_results(hub, repo, sha)
    if repo.kind == "spaces":
        described["sdk"] = repo.sdk
    return described


def _sibling(path: str, file: File, blobs: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": path}
    if blobs:
        sibling |= {"blobId": file.oid, "size": file.size}
    if blobs and file.lfs:
        sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return sibling


def eval_results(hub: Hub, repo: Repo, sha: str) -> list[dict[str, Any]]:
    """Return the entries of `.eval_results/*.yaml`."""
    found: list[dict[str, Any]] = []
    for path, file in sorted(repo.commits[sha].tree.items()):
        if path.startswith(".eval_results/") and path.endswith((".yaml", ".yml")):
            entries = yaml.safe_load(hub.blob(file.sha256).read_text("utf-8"))
            found += [{"filename": path, "data": entry, "verified": False} for entry in entries]
    return found


def leaderboard(call: Call) -> Response:
    """Rank the models whose evaluation results name this dataset, best first."""
    dataset = call.hub.repo("datasets", f"{call.params['namespace']}/{call.params['name']}")
    rows = []
    for repo in list(call.hub.repos.values()):
        if repo.kind == "models":
            results = eval_results(call.hub, repo, repo.branches["main"])
            rows += [_ranked(repo, result) for result in results if result["data"]["dataset"]["id"] == dataset.id]
    rows.sort(key=lambda row: -row["value"])
    return JSONResponse([{"rank": rank, **row} for rank, row in enumerate(rows, 1)])


def _ranked(repo: Repo, result: dict[str, Any]) -> dict[str, Any]:
    data = result["data"]
    author = {"_id": "1", "name": repo.namespace, "type": "org", "fullname": "", "avatarUrl": ""}
    staff = {"isHf": False, "isHfAdmin": False, "isMod": False}
    optional = {key: data.get(key) for key in ("notes", "source")}
    known = {"modelId": repo.id, "value": data["value"], "verified": False, "filename": result["filename"]}
    return {**known, **optional, "author": {**author, **staff}, "taskId": data["dataset"]["task_id"]}
