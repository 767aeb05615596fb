"""A pushed model by other ways: without a network, and through the Hub's own command; cards changed key by key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hub import Hub

from securitynet import evaluate
from securitynet.cards import BEGIN, END, render, with_block
from securitynet.errors import HubError
from securitynet.hub import frontmatter, push_model
from securitynet.loaders import load_model


def test_without_a_network_and_through_the_hubs_command(hub: Hub, tmp_path: Path) -> None:
    known = load_model("builtin/digits-blended", cache_dir=tmp_path)
    pushed = push_model(known, "tester/round", annotation={})
    online = evaluate(f"hf-hub:tester/round@{pushed.tag}", attacks=["membership/loss"], cache_dir=tmp_path / "online")
    offline = evaluate(f"hf-hub:tester/round@{pushed.tag}", attacks=["membership/loss"], cache_dir=tmp_path / "offline", offline=True)
    assert [row.row_id for row in online.rows] == [row.row_id for row in offline.rows]
    command = shutil.which("hf", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
    if command is None:
        pytest.skip("the command hf is not installed")
    subprocess.run([command, "download", "tester/round", "--local-dir", str(tmp_path / "here")], check=True, capture_output=True)
    local = load_model(tmp_path / "here", cache_dir=tmp_path)
    pixels = torch.rand(3, 1, 32, 32)
    assert local.weights_sha256 == known.weights_sha256 and torch.equal(local.module(pixels), known.module(pixels))
    assert local.entry.backdoor_target == known.entry.backdoor_target


def test_a_key_of_the_front_matter_is_replaced_alone() -> None:
    text = "---\n# first\na: 1 # one\nlist:\n- x\n# inside\n- y\n\n# about b\nb: {c: 2}\n---\nText\n---\nmore\n"
    changed = frontmatter.updated(text, {"list": ["z"], "new": True})
    assert changed == "---\n# first\na: 1 # one\nlist:\n- z\n\n# about b\nb: {c: 2}\nnew: true\n---\nText\n---\nmore\n"
    assert frontmatter.updated("# Only text\n", {"a": [1]}) == "---\na:\n- 1\n---\n\n# Only text\n"
    same = [1]
    assert yaml.safe_load(frontmatter.dump({"a": same, "b": same})) == {"a": [1], "b": [1]} and "&" not in frontmatter.dump(
        {"a": same, "b": same}
    )
    for broken in ("---\na: [\n---\n", "---\n- a\n---\n"):
        with pytest.raises(HubError, match="mend it first"):
            frontmatter.read(broken, "a/b")


def test_what_comes_from_a_row_cannot_leave_its_place() -> None:
    row = {"attack": f"`x` | {END} <script>", "metric": "auc", "value": 0.5, "ci_low": None, "ci_high": 0.6, "n": 3}
    values = {"rows": [row], "dataset": f"[a](b) {BEGIN}", "date": "2026", "meaning": "*m*|", "cause": "<b>", "repo": "a/b", "weights": "0"}
    block = render("model_block", values)
    assert BEGIN not in block and END not in block and "<script>" not in block.replace("`'x' ¦ < !-- securitynet:end -- > <script>`", "")
    assert "\\[a\\](b)" in block and "&lt;b&gt;" in block
    text = with_block("Before.\n", block)
    assert text is not None and text.startswith("Before.\n\n" + BEGIN) and with_block(text, "new") == f"Before.\n\n{BEGIN}\nnew\n{END}\n"
    assert with_block(f"{END}{BEGIN}", "x") is None and with_block(BEGIN, "x") is None
