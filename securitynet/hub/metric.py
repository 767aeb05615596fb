"""push_metric(): one of the modules for `evaluate` as a Space on the Hub."""

from __future__ import annotations

from pathlib import Path

from securitynet.errors import UsageError
from securitynet.hub.write import Change, Pushed, Remote, write
from securitynet.metrics import modules


def push_metric(name: str, repo_id: str, *, create_pr: bool = False, private: bool | None = None, token: str | None = None) -> Pushed:
    """Push a module of `evaluate` as a Space, which evaluate.load(repo_id) then loads; return what was done.

    Raises UsageError for an unknown name, or a repo of another name than the module's, HubError.
    """
    folder = Path(modules.path(name))
    if repo_id.rpartition("/")[2] != name:
        raise UsageError(f"{repo_id}: evaluate looks for a module by the name of its Space, which must be ORG/{name}")
    files: dict[str, bytes | Path] = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    remote = Remote(repo_id, "space", private, token)
    return write(remote, lambda _: Change(f"Metric {name}", files), create_pr=create_pr, sdk="gradio")
