"""push_evaluation(): results for a model repo that may be anybody's, and nothing else: no other file of it changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from securitynet.catalog import HUB_ID
from securitynet.errors import UsageError
from securitynet.hub.evaluation import EVALUATION, Evaluation
from securitynet.hub.write import Change, Pushed, Remote, write
from securitynet.results.row import Row

AT = re.compile(r"hf-hub:([^@:]+/[^@:]+)(?::[^@]*)?@([0-9a-f]{40})")  # how rows name a model of the Hub


def push_evaluation(
    rows: Iterable[Row],
    repo_id: str,
    *,
    benchmark: str = HUB_ID,
    meaning: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
) -> Pushed:
    """Add what was measured about a model repo's weights: `.eval_results/securitynet.yaml` and the block of its card.

    No other file changes, and of the card nothing outside the block. Rows about other weights are left out; `benchmark` is the dataset
    repo that the results name, `meaning` a sentence for the block. The same again changes nothing. Raises UsageError where no row is
    about weights of the repo or none has a headline number, HubError.
    """
    rows, remote = tuple(rows), Remote(repo_id, "model", None, token).checked()

    def plan(head: str) -> Change | None:
        weights, own = _about(remote, rows, head)
        cause = next((row.reason for row in own if row.status == "suspect"), None)
        found = Evaluation(repo_id, weights, own, meaning, cause, benchmark)
        if not found.shown():
            raise UsageError(f"{repo_id}: of the {len(own)} rows about its weights, none has a number that a card shows")
        present = remote.read("README.md", head)
        files = {"README.md": found.within((present or b"").decode("utf-8", "replace")).encode()}
        if (results := found.results()) is not None:
            files[EVALUATION] = results
        if all((present if path == "README.md" else remote.read(path, head)) == content for path, content in files.items()):
            return None
        digest = hashlib.sha256(b"".join(files.values())).hexdigest()[:12]
        return Change(f"Add a security evaluation of weights {weights[:12]} ({digest})", files)

    return write(remote, plan, create_pr=create_pr, create=False)


def _about(remote: Remote, rows: tuple[Row, ...], head: str) -> tuple[str, tuple[Row, ...]]:
    """The sha256 of weights that the repo has at `head`, and the rows about them."""
    kept = remote.hashes(head)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.weights_sha256 or "", []).append(row)
    fitting = [weights for weights, own in groups.items() if weights and _has(remote, kept, weights, own[0].entry)]
    if len(fitting) > 1:
        names = ", ".join(f"{groups[one][0].entry} ({one[:12]})" for one in fitting[:4])
        raise UsageError(f"{remote.id}: the rows are about {len(fitting)} files of weights in this repo: {names}; push those of one")
    if not fitting:
        about = ", ".join(f"{own[0].entry} ({weights[:12] or 'unknown'})" for weights, own in list(groups.items())[:4])
        raise UsageError(f"{remote.id}: no row is about weights of this repo; the rows are about {about or 'nothing'}")
    return fitting[0], tuple(groups[fitting[0]])


def _has(remote: Remote, kept: Mapping[str, str], weights: str, entry: str) -> bool:
    """Say whether the repo has these weights: a file of that sha256, or (of several files) all large files as at the rows' commit."""
    if weights in kept.values():
        return True
    named = AT.fullmatch(entry)
    return named is not None and named[1] == remote.id and bool(kept) and remote.hashes(named[2]) == kept
