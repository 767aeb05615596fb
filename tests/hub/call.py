"""Call: one request as the endpoints see it, with who asks and what about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

from hub.store import Hub, HubError, Repo, User


@dataclass(frozen=True)
class Call:
    """A request: `params` come from its path, `base` is the address of this server with a slash at the end."""

    hub: Hub
    method: str
    params: Mapping[str, str]
    query: QueryParams
    headers: Headers
    body: bytes
    base: str

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty where there is none."""
        return json.loads(self.body or b"{}")

    def form(self) -> dict[str, list[str]] | None:
        """Return the body's fields where it is a form."""
        is_form = "form" in self.headers.get("content-type", "")
        return parse_qs(self.body.decode()) if is_form else None

    def flag(self, name: str) -> bool:
        """Say whether a query parameter is set to true."""
        return self.query.get(name, "").lower() in ("true", "1")

    @property
    def revision(self) -> str:
        """The revision in the path; main where it names none."""
        return unquote(self.params.get("rev") or "main")

    def user(self) -> User | None:
        """Return who asks, None for a request without a token."""
        token = self.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if token and token not in self.hub.users:
            raise HubError(401, None, "Invalid user token.")
        return self.hub.users.get(token)

    def signed_in(self) -> User:
        """Return who asks; refuse a request without a token."""
        user = self.user()
        if user is None:
            raise HubError(401, None, "Invalid username or password.")
        return user

    def writer(self, namespace: str) -> User:
        """Return who asks; refuse one who may not write to `namespace`."""
        user = self.signed_in()
        if namespace not in user.namespaces:
            raise HubError(403, None, f'You don\'t have the rights to create a model under the namespace "{namespace}".')
        return user

    def repo(self, write: bool = False) -> Repo:
        """Return the repo of the path; a private one is not found by strangers."""
        repo = self.hub.repo(self.params["kind"], f"{self.params['namespace']}/{self.params['name']}")
        if write:
            self.writer(repo.namespace)
        elif repo.private:
            user = self.user()
            if user is None or repo.namespace not in user.namespaces:
                raise HubError(401, "RepoNotFound", "Repository not found")
        return repo

    def granted(self) -> Repo:
        """Return the repo of the path; the files of a gated one are for its owners only."""
        repo = self.repo()
        user = self.user()
        if repo.gated and (user is None or repo.namespace not in user.namespaces):
            message = f"Access to {repo.kind[:-1]} {repo.id} is restricted and you are not in the authorized list."
            raise HubError(403 if user else 401, "GatedRepo", message)
        return repo


Endpoint = Callable[[Call], Response]
