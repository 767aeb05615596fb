"""Endpoints that read: trees, paths, refs, commits, and the files themselves."""

from __future__ import annotations

from itertools import accumulate
from typing import Any
from urllib.parse import unquote

from starlette.responses import FileResponse, JSONResponse, Response

from hub.call import Call
from hub.store import File, HubError, Repo, hex_id

LFS_ENDINGS = ("arrow", "bin", "gz", "jpeg", "jpg", "msgpack", "npy", "npz", "onnx", "parquet", "png", "pt", "pth", "safetensors", "zip")
LFS_PATTERNS = tuple(f"*.{ending}" for ending in LFS_ENDINGS)


def tree(call: Call) -> Response:
    """List a folder: directories first; `recursive` goes below, `expand` adds the last commit of each file."""
    repo = call.repo()
    sha = repo.resolve(call.revision)
    prefix = unquote(call.params.get("path", "")).strip("/")
    inside = f"{prefix}/" if prefix else ""
    recursive = call.flag("recursive")
    files: list[dict[str, Any]] = []
    folders: dict[str, dict[str, Any]] = {}
    for path, file in sorted(repo.commits[sha].tree.items()):
        if not path.startswith(inside):
            continue
        parts = path.removeprefix(inside).split("/")
        parents = list(accumulate(parts[:-1], "{}/{}".format))
        folders |= {inside + parent: _folder(inside + parent) for parent in (parents if recursive else parents[:1])}
        if recursive or not parents:
            files.append(_file(path, file, _last_commit(repo, sha, path) if call.flag("expand") else None))
    if prefix and not files and not folders:
        raise HubError(404, "EntryNotFound", f'{prefix} does not exist on "{call.revision}"')
    return JSONResponse([*folders.values(), *files])


def paths_info(call: Call) -> Response:
    """Describe the named paths that exist."""
    repo = call.repo()
    sha = repo.resolve(call.revision)
    form = call.form()
    paths = call.json()["paths"] if form is None else form.get("paths", [])
    expand = call.json().get("expand") if form is None else form.get("expand", [""])[0].lower() == "true"
    files, found = repo.commits[sha].tree, []
    for path in (path.strip("/") for path in paths):
        if path in files:
            found.append(_file(path, files[path], _last_commit(repo, sha, path) if expand else None))
        elif any(other.startswith(path + "/") for other in files):
            found.append(_folder(path))
    return JSONResponse(found)


def _file(path: str, file: File, last_commit: dict[str, str] | None) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    if file.lfs:
        described["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    if last_commit:
        scans = {"status": "safe", "avScan": {"status": "safe"}, "pickleImportScan": None}
        described |= {"lastCommit": last_commit, "securityFileStatus": scans}
    return described


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": hex_id(path), "size": 0, "path": path}


def _last_commit(repo: Repo, sha: str, path: str) -> dict[str, str]:
    """The oldest commit from `sha` back that has the file as it is."""
    current, last = repo.commits[sha].tree.get(path), sha
    for older in repo.history(sha):
        if repo.commits[older].tree.get(path) != current:
            break
        last = older
    return {"id": last, "title": repo.commits[last].title, "date": repo.commits[last].date}


def refs(call: Call) -> Response:
    """List branches, tags and pull requests."""
    repo = call.repo()

    def named(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": prefix + name, "targetCommit": sha} for name, sha in names.items()]

    branches, tags = named(repo.branches, "refs/heads/"), named(repo.tags, "refs/tags/")
    return JSONResponse({"branches": branches, "tags": tags, "converts": [], "pullRequests": named(repo.prs, "")})


def commits(call: Call) -> Response:
    """List the commits up to a revision, newest first."""
    repo = call.repo()
    found = []
    for sha in repo.history(repo.resolve(call.revision)):
        commit = repo.commits[sha]
        texts = {"title": commit.title, "message": commit.message, "date": commit.date}
        found.append({"id": sha, **texts, "authors": [{"user": commit.author}]})
    return JSONResponse(found, headers={"X-Total-Count": str(len(found))})


def resolve(call: Call) -> Response:
    """Send a file, or a range of it."""
    repo = call.granted()
    sha = repo.resolve(call.revision)
    file = repo.commits[sha].tree.get(call.params["path"])
    if file is None:
        raise HubError(404, "EntryNotFound", f"Entry not found: {call.params['path']}")
    etag = f'"{file.sha256 if file.lfs else file.oid}"'
    headers = {"X-Repo-Commit": sha, "ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": str(file.size)}
    headers |= {"Accept-Ranges": "bytes", "Access-Control-Expose-Headers": "*"}
    if file.size == 0:
        return Response(b"", headers=headers)
    kind = "application/octet-stream" if file.lfs else "text/plain; charset=utf-8"
    return FileResponse(call.hub.blob(file.sha256), headers=headers, media_type=kind)
