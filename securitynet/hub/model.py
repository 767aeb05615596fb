"""push_model(): a model as a repo that timm, transformers and load_model read, with card, results and a tag."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from securitynet.download.hashes import digests_of
from securitynet.errors import HubError, SecurityNetError, UsageError
from securitynet.hub.evaluation import EVALUATION, Evaluation
from securitynet.hub.modelcard import ModelCard
from securitynet.hub.modelfiles import Annotation, subject, write_files
from securitynet.hub.write import Change, Pushed, Remote, patiently, write
from securitynet.loaders._annotation import KEY
from securitynet.modelrepo import WEIGHTS
from securitynet.results.row import Row
from securitynet.target import Target

if TYPE_CHECKING:
    from securitynet.results.result import Result

OURS = re.compile(r"config\.json|preprocessor_config\.json|[\w-]+\.safetensors")  # what a push writes beside the card
BESIDE = re.compile(r"\.git\w+|README\.md|LICEN[CS]E.*|NOTICE.*|\.eval_results/.*", re.IGNORECASE)  # what a push leaves as it is
HOLDS_WEIGHTS = re.compile(r".*(\.(bin|ckpt|h5|msgpack|onnx|ot|pb|pkl|pickle|pt|pth|safetensors|tflite)|\.index\.json)", re.IGNORECASE)


def push_model(
    model: Target | nn.Module,
    repo_id: str,
    *,
    annotation: Annotation,
    result: Result | Sequence[Row] | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    replace: bool = False,
    token: str | None = None,
) -> Pushed:
    """Push a model as a complete repo, in one commit; return what was done.

    `model`: a Target, or one's own module (normalised input to logits). `annotation`: columns of its entry; a module needs architecture
    (timm's know theirs), dataset, num_classes, input_size, mean and std. `result`: what evaluate() found about these very weights.
    The files are read back first and must give the same logits. In a card that is there already only the block between the markers and
    our part of the model-index change. The tag `weights-...` names these weights. Onto a repo with files of others it goes only with
    `replace`: files of the same names are overwritten then, and other weights deleted. Raises UsageError, LoadError, HubError.
    """
    remote = Remote(repo_id, "model", private, token).checked()
    target = subject(model, annotation)
    rows = _rows(result, target)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "repo"
        write_files(folder, target)
        files: dict[str, bytes | Path] = {path.name: path for path in sorted(folder.iterdir())}
        weights = digests_of(folder / WEIGHTS)["sha256"]
        kind = (target.entry.architecture or "").partition(":")[0]
        measured = Evaluation(repo_id, weights, rows, *_words(result))
        card = ModelCard(repo_id, target.entry, kind if kind in ("timm", "transformers") else "own", measured)

        def plan(head: str) -> Change:
            there = remote.paths(head)
            gone = _others(remote, head, there, replace)
            present = remote.read("README.md", head)
            readme = card.text(present.decode("utf-8", "replace") if present else None).encode()
            found = measured.results()
            stale = EVALUATION in there and found is None and weights.encode() not in (present or b"")
            change: dict[str, bytes | Path] = {**files, "README.md": readme, **({EVALUATION: found} if found else {})}
            deleted = (*(name for name in gone if name not in change), *([EVALUATION] if stale else []))
            return Change(f"Add model, weights {weights[:12]}", change, deleted)

        pushed = write(remote, plan, create_pr=create_pr)
    return pushed if create_pr else dataclasses.replace(pushed, tag=_tagged(remote, pushed, f"weights-{weights[:12]}"))


def _others(remote: Remote, head: str, there: Sequence[str], replace: bool) -> list[str]:
    """Return the files of others that hold weights. Raises UsageError, without `replace`, where the repo has files of others.

    In a repo that this package wrote (its config.json says so) files that a push neither writes nor deletes are no reason to ask.
    """
    others = [name for name in there if not BESIDE.fullmatch(name)]
    if others and _is_ours(remote, head, there):
        others = [name for name in others if HOLDS_WEIGHTS.fullmatch(name) and not OURS.fullmatch(name)]
    if others and not replace:
        listed = ", ".join(others[:6]) + (f" and {len(others) - 6} more" if len(others) > 6 else "")
        raise UsageError(
            f"{remote.id}: the repo has files that this push did not write: {listed}. To add results only: push results RESULT "
            f"--to-model {remote.id} --create-pr. --replace pushes the model: it overwrites config and weights, and deletes other weights"
        )
    return [name for name in others if HOLDS_WEIGHTS.fullmatch(name)]


def _is_ours(remote: Remote, head: str, there: Sequence[str]) -> bool:
    config = remote.read("config.json", head) if "config.json" in there else None
    try:
        return isinstance(json.loads(config or b"{}").get(KEY), dict)
    except (ValueError, AttributeError):
        return False


def _rows(result: Result | Sequence[Row] | None, target: Target) -> tuple[Row, ...]:
    """The rows of a result. Raises UsageError where they are about other weights."""
    rows = () if result is None else tuple(result if isinstance(result, Sequence) else result.rows)
    for row in rows:
        if row.weights_sha256 != target.weights_sha256:
            raise UsageError(
                f"{target.entry.id}: the result is about {row.entry}, weights {(row.weights_sha256 or 'unknown')[:12]}, "
                f"not about these, {target.weights_sha256[:12]}"
            )
    return rows


def _words(result: Result | Sequence[Row] | None) -> tuple[str | None, str | None]:
    """What a result means, and why the model is suspect."""
    if result is None or isinstance(result, Sequence):
        cause = next((row.reason for row in result or () if row.status == "suspect"), None)
        return None, cause
    return str(result.summary()["meaning"]), result.verdict.cause


def _tagged(remote: Remote, pushed: Pushed, tag: str) -> str:
    """Tag the commit; a tag that is there names the same weights already."""
    try:
        patiently(remote, lambda: remote.api.create_tag(remote.id, tag=tag, revision=pushed.commit, exist_ok=True))
    except SecurityNetError as error:
        raise HubError(f"{error} (the model is there, at {pushed.commit[:12]}; only the tag {tag} is missing)") from None
    return tag
