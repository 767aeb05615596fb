"""push_board(): a folder of `securitynet leaderboard` as a static Space on the Hub."""

from __future__ import annotations

from pathlib import Path

from securitynet.errors import UsageError
from securitynet.hub import frontmatter
from securitynet.hub.write import Change, Pushed, Remote, write

PAGE, README = "index.html", "README.md"
FILES = (PAGE, "rows.csv", "rows.parquet")


def push_board(folder: Path, repo_id: str, *, create_pr: bool = False, private: bool | None = None, token: str | None = None) -> Pushed:
    """Push a leaderboard as a static Space, which is created where it is missing; return what was done.

    README.md is written where there is none; of one that is there only what makes the Space static changes, where it says otherwise.
    Other files stay. Raises UsageError for a folder without a page, HubError.
    """
    absent = [name for name in (README, *FILES) if not (folder / name).is_file()]
    if absent:
        raise UsageError(f"{folder}: no folder of `securitynet leaderboard`, it lacks {', '.join(absent)}")
    own = (folder / README).read_text(encoding="utf-8")
    settings = {name: value for name, value in frontmatter.read(own, str(folder)).items() if name in ("title", "sdk", "app_file", "pinned")}
    remote = Remote(repo_id, "space", private, token)
    contents = {name: (folder / name).read_bytes() for name in FILES}

    def plan(head: str) -> Change | None:
        there = remote.paths(head)
        present = remote.read(README, head) if README in there else None
        text = own if present is None else _settled(present.decode("utf-8", "replace"), settings, repo_id)
        wanted = {**contents, README: text.encode()}
        changed = {name: content for name, content in wanted.items() if name not in there or remote.read(name, head) != content}
        return Change("Leaderboard", changed) if changed else None

    return write(remote, plan, create_pr=create_pr, sdk="static")


def _settled(present: str, settings: dict[str, object], repo: str) -> str:
    """A README.md that is there, made one of a static Space that shows the page; what a person wrote stays."""
    known = frontmatter.read(present, repo)
    if known.get("sdk") == "static" and known.get("app_file", PAGE) == PAGE:
        return present
    return frontmatter.updated(present, {"title": known.get("title", settings["title"]), "sdk": "static", "app_file": PAGE})
