"""The application: which address leads to which endpoint."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub import discussions, files, repos, uploads
from hub.call import Call, Endpoint
from hub.store import KINDS, Fault, Hub, HubError, Request

REPO = "/api/{kind:repokind}/{namespace}/{name}"


class _Word(Convertor[str]):
    """One of a few words in a path."""

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Kind(_Word):
    regex = "|".join(KINDS)


class _Access(_Word):
    regex = "read|write"


class _RefType(_Word):
    regex = "branch|tag"


register_url_convertor("repokind", _Kind())
register_url_convertor("xetaccess", _Access())
register_url_convertor("reftype", _RefType())


def make_app(hub: Hub) -> ASGIApp:
    """Return the ASGI application of a Hub."""
    api: list[tuple[str, str, Endpoint]] = [
        ("GET", "/api/whoami-v2", repos.whoami),
        ("POST", "/api/repos/create", repos.create),
        ("DELETE", "/api/repos/delete", repos.delete),
        ("POST", "/api/validate-yaml", uploads.validate_card),
        ("GET", "/api/{kind:repokind}", repos.listing),
        ("GET", REPO, repos.info),
        ("GET", REPO + "/revision/{rev}", repos.info),
        ("PUT", REPO + "/settings", repos.settings),
        ("GET", REPO + "/tree/{rev}", files.tree),
        ("GET", REPO + "/tree/{rev}/{path:path}", files.tree),
        ("POST", REPO + "/paths-info/{rev}", files.paths_info),
        ("GET", REPO + "/refs", files.refs),
        ("GET", REPO + "/commits/{rev}", files.commits),
        ("POST", REPO + "/preupload/{rev}", uploads.preupload),
        ("POST", REPO + "/commit/{rev}", uploads.commit),
        ("GET", REPO + "/xet-{access:xetaccess}-token/{rev}", uploads.xet_token),
        ("GET", REPO + "/discussions", discussions.discussions),
        ("POST", REPO + "/discussions", discussions.start),
        ("GET", REPO + "/discussions/{number:int}", discussions.discussion),
        ("POST", REPO + "/discussions/{number:int}/merge", discussions.merge),
        ("POST", REPO + "/discussions/{number:int}/status", discussions.change_status),
        ("GET", "/api/datasets/{namespace}/{name}/leaderboard", repos.leaderboard),
        ("GET", REPO + "/auth-check", repos.auth_check),
        ("POST", REPO + "/{reftype:reftype}/{ref}", uploads.edit_ref),
        ("DELETE", REPO + "/{reftype:reftype}/{ref}", uploads.edit_ref),
        ("PUT", "/_lfs/{oid}", uploads.lfs_put),
        ("POST", "/_lfs/{oid}/verify", uploads.lfs_verify),
    ]
    routes = [_route(hub, method, path, endpoint) for method, path, endpoint in api]
    for kind, prefix in (("datasets", "/datasets"), ("spaces", "/spaces"), ("models", "")):
        site = prefix + "/{namespace}/{name}"
        for verb in ("resolve", "raw"):
            routes.append(_route(hub, "GET", f"{site}/{verb}/{{rev}}/{{path:path}}", files.resolve, kind))
        routes.append(_route(hub, "POST", site + ".git/info/lfs/objects/batch", uploads.lfs_batch, kind))
    return _Recorder(Starlette(routes=routes, exception_handlers={404: _nothing, 405: _nothing}), hub)


def _route(hub: Hub, method: str, path: str, endpoint: Endpoint, kind: str | None = None) -> Route:
    """A route whose endpoint runs in a thread; `kind` stands where the path does not tell it. GET answers HEAD as well."""

    async def handle(request: HttpRequest) -> Response:
        params = {name: str(value) for name, value in request.path_params.items()} | ({"kind": kind} if kind else {})
        body = await request.body()
        call = Call(hub, request.method, params, request.query_params, request.headers, body, str(request.base_url))
        return await run_in_threadpool(_answer, endpoint, call)

    return Route(path, handle, methods=[method])


def _answer(endpoint: Endpoint, call: Call) -> Response:
    try:
        return endpoint(call)
    except HubError as error:
        headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
        return JSONResponse({"error": error.message}, status_code=error.status, headers=headers)


async def _nothing(request: HttpRequest, error: Exception) -> Response:
    message = f"no such endpoint {request.method} {request.url.path}"
    return JSONResponse({"error": message}, status_code=404, headers={"X-Error-Message": message})


class _Recorder:
    """Keeps %2F inside a revision as one segment (refs%2Fpr%2F1), and writes down what was asked and answered."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], hub: Hub) -> None:
        self.app, self.hub = app, hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        raw = scope["raw_path"].split(b"?")[0].decode()
        scope = dict(scope, path="/".join(_segment(part) for part in raw.split("/")))
        status, sent = 0, 0

        async def count(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                query = scope["query_string"].decode()
                self.hub.requests.append(Request(scope["method"], scope["path"], query, status, sent))
            await send(message)

        fault = self.hub.fault(scope["method"], scope["path"])
        if fault is None:
            return await self.app(scope, receive, count)
        if fault.done:
            await self.app(scope, receive, _nobody)
        await _broken(fault, _sent(scope), count)


async def _nobody(_: Message) -> None:
    """Nobody hears the answer."""


def _sent(scope: Scope) -> str:
    """The token that came with a request."""
    return next((value.decode() for name, value in scope["headers"] if name == b"authorization"), "").removeprefix("Bearer ")


async def _broken(fault: Fault, token: str, send: Send) -> None:
    """Answer with the fault; a cut line begins an answer and does not end it."""
    message = fault.message.replace("{token}", token)
    headers = {"content-type": "application/json", "x-error-message": message, **fault.headers}
    body = json.dumps({"error": message}).encode()
    headers["content-length"] = str(len(body))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": fault.status or 200, "headers": raw})
    if fault.status:
        await send({"type": "http.response.body", "body": body})


def _segment(part: str) -> str:
    return part.replace("%2f", "%2F") if "%2f" in part.lower() else unquote(part)
