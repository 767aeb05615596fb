"""Results for a model that may be anybody's: what a publisher's repo holds stays as it is; whole models go only onto repos of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub import Hub
from hub.store import User
from test_hub_push_catalog import small  # noqa: F401 - a fixture

from securitynet import evaluate
from securitynet.cards import BEGIN, END
from securitynet.cli import main
from securitynet.errors import HubError, UsageError
from securitynet.hub import contribute, push_catalog, push_evaluation, push_model, push_results
from securitynet.hub.benchmark import FRAMEWORKS
from securitynet.loaders import load_model
from securitynet.results.result import Result

CARD = "---\r\nlicense: mit\r\n# ours\r\ntags: [x]\r\nmodel-index: not of the form\r\n---\r\n# A model of ours\r\n\r\nProse.\r\n"


@pytest.fixture(scope="module")
def publisher(hub: Hub) -> str:
    """The token of somebody whose repos `tester` may not write to."""
    hub.users["hf_publisher"] = User("publisher")
    return "hf_publisher"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A real evaluation, and the folder where it is saved."""
    cache = tmp_path_factory.mktemp("cache")
    result = evaluate("builtin/digits-overfit", attacks=["membership/loss"], cache_dir=cache)
    return result, result.save(cache / "saved")


def publish(repo: str, token: str, files: Mapping[str, bytes]) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token)
    api.create_repo(repo, exist_ok=True)
    added = [CommitOperationAdd(path, content) for path, content in files.items()]
    return str(api.create_commit(repo, added, commit_message="ours").oid)


def files_of(hub: Hub, repo: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
    """The content of every file, as it lies there."""
    return {path: hub.blob(file.sha256).read_bytes() for path, file in hub.repo(kind, repo).tree(revision).items()}


def weights_of(name: str, cache: Path) -> bytes:
    folder = load_model(name, cache_dir=cache).folder
    assert folder is not None
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture
def theirs(hub: Hub, publisher: str, tmp_path: Path) -> dict[str, bytes]:
    """What a publisher's repo holds: the weights of a built-in model, and files that no push of ours writes."""
    weights = weights_of("builtin/digits-overfit", tmp_path)
    return {
        "README.md": CARD.encode(), "config.json": b'{"architectures": ["Other"]}', "model.safetensors": weights,
        "pytorch_model.bin": b"a pickle of theirs\0", "training/log.txt": b"loss 1.0\n",
    }  # fmt: skip


def test_results_change_nothing_else(hub: Hub, publisher: str, theirs: dict[str, bytes], measured: tuple[Result, Path]) -> None:
    """The pull request adds one file, and of the card only the block, byte by byte."""
    from huggingface_hub import HfApi

    repo, (result, folder) = "publisher/results-only", measured
    before = publish(repo, publisher, theirs)
    assert main(["push", "results", str(folder), "--to-model", repo, "--create-pr"]) == 0
    was, now = files_of(hub, repo, before), files_of(hub, repo, "refs/pr/1")
    changed = {path for path in was.keys() | now.keys() if was.get(path) != now.get(path)}
    assert changed == {"README.md", ".eval_results/securitynet.yaml"} and files_of(hub, repo) == was
    text = now["README.md"].decode()
    assert text.partition(BEGIN)[0].rstrip() == CARD.rstrip() and text.partition(END)[2] == "\n"
    assert result.summary()["meaning"][:60].replace("[", "\\[") in text and "| `membership/loss` | AUC |" in text
    entries = yaml.safe_load(now[".eval_results/securitynet.yaml"])
    values = {entry["dataset"]["task_id"]: entry["value"] for entry in entries}
    assert values["membership/loss/auc"] == result.value("membership/loss", "auc")
    assert {entry["dataset"]["id"] for entry in entries} == {"securitynet/catalog"}
    assert push_evaluation(result.rows, repo, meaning=result.summary()["meaning"], create_pr=True).pull_request == 1, "it is open already"
    HfApi(token=publisher).merge_pull_request(repo, 1)
    assert files_of(hub, repo)["training/log.txt"] == theirs["training/log.txt"]
    again = push_evaluation(result.rows, repo, meaning=result.summary()["meaning"], create_pr=True)
    assert (again.files, again.pull_request) == (0, None), "all is there"


def test_rows_and_the_entries_that_name_them(hub: Hub, measured: tuple[Result, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """With --to, the rows go to a dataset, and the model's results name that dataset."""
    result, folder = measured
    repo = "tester/contribution-both"
    push_model(load_model("builtin/digits-overfit"), repo, annotation={})
    before = files_of(hub, repo)
    asked = ["push", "results", str(folder), "--to", "tester/contribution-rows", "--to-model", repo, "--json"]
    assert main(asked) == 0
    done = json.loads(capsys.readouterr().out)
    assert [one["repo"] for one in done] == ["tester/contribution-rows", repo] and done[0]["rows"] == len(result.rows)
    entries = yaml.safe_load(files_of(hub, repo)[".eval_results/securitynet.yaml"])
    assert {entry["dataset"]["id"] for entry in entries} == {"tester/contribution-rows"}
    assert "eval.yaml" not in files_of(hub, "tester/contribution-rows", kind="datasets"), "none is written by default"
    assert {path for path, content in files_of(hub, repo).items() if before.get(path) != content} == {
        "README.md",
        ".eval_results/securitynet.yaml",
    }


def test_results_of_other_weights_are_refused(hub: Hub, publisher: str, measured: tuple[Result, Path], tmp_path: Path) -> None:
    result, _ = measured
    weights = weights_of("builtin/digits-regular", tmp_path)
    publish("publisher/other-weights", publisher, {"model.safetensors": weights, "config.json": b"{}"})
    with pytest.raises(UsageError, match=r"of this repo; the rows are about builtin/digits-overfit \([0-9a-f]{12}\)"):
        push_evaluation(result.rows, "publisher/other-weights", create_pr=True)
    with pytest.raises(HubError, match="no such repo to add to"):
        push_evaluation(result.rows, "tester/never-made")
    assert "models", "tester/never-made" not in hub.repos
    bare = [row for row in result.rows if row.metric == "queries"]
    publish("publisher/no-number", publisher, {"model.safetensors": weights_of("builtin/digits-overfit", tmp_path)})
    with pytest.raises(UsageError, match="none has a number that a card shows"):
        push_evaluation(bare, "publisher/no-number", create_pr=True)
    assert not hub.repo("models", "publisher/other-weights").discussions


def test_weights_in_several_files_are_known_by_the_commit(hub: Hub, publisher: str) -> None:
    """Rows of a sharded model name a commit; as long as its large files are the same at the newest, they are about this repo."""
    from securitynet.results.row import Row

    repo = "publisher/sharded"
    shards = {f"model-0000{n}-of-00002.safetensors": bytes([n]) * 50 for n in (1, 2)}
    commit = publish(repo, publisher, {**shards, "README.md": b"text\n"})
    facts: dict[str, Any] = {"dataset": "digits", "family": "membership", "attack": "membership/loss", "metric": "auc", "status": "ok"}
    row = Row(entry=f"hf-hub:{repo}@{commit}", weights_sha256="5" * 64, value=0.7, n=10, **facts)
    publish(repo, publisher, {"README.md": b"new text\n"})
    assert push_evaluation([row], repo, create_pr=True).pull_request == 1
    publish(repo, publisher, {"model-00002-of-00002.safetensors": b"other"})
    with pytest.raises(UsageError, match="no row is about weights"):
        push_evaluation([row], repo, create_pr=True)


def test_a_whole_push_onto_files_of_others_asks(hub: Hub, publisher: str, theirs: dict[str, bytes], tmp_path: Path) -> None:
    repo, target = "publisher/whole", load_model("builtin/digits-regular", cache_dir=tmp_path)
    publish(repo, publisher, theirs | {"README.md": CARD.replace("model-index: not of the form\r\n", "").encode()})
    before = files_of(hub, repo)
    with pytest.raises(UsageError) as caught:
        push_model(target, repo, annotation={}, token=publisher)
    listed = ("config.json", "model.safetensors", "pytorch_model.bin", "training/log.txt", "--replace", f"--to-model {repo}")
    assert all(name in str(caught.value) for name in listed) and files_of(hub, repo) == before
    with pytest.raises(UsageError, match="--replace"):
        push_model(target, repo, annotation={}, create_pr=True)
    assert not hub.repo("models", repo).discussions
    assert main(["push", "model", "builtin/digits-regular", "--to", repo, "--create-pr", "--cache-dir", str(tmp_path)]) == 2
    wish = push_model(target, repo, annotation={}, create_pr=True, replace=True, token=publisher)
    now = files_of(hub, repo, f"refs/pr/{wish.pull_request}")
    assert "pytorch_model.bin" not in now and now["training/log.txt"] == theirs["training/log.txt"]
    assert "securitynet" in json.loads(now["config.json"]) and files_of(hub, repo) == before


def test_what_a_push_leaves_alone_needs_no_leave(hub: Hub, tmp_path: Path) -> None:
    """One's own repo with a card, a licence, and later a picture; but not with other weights."""
    from huggingface_hub import HfApi

    repo, api = "tester/own-files", HfApi()
    target = load_model("builtin/digits-regular", cache_dir=tmp_path)
    publish(repo, "hf_test", {"README.md": b"# mine\n", "LICENSE": b"MIT\n", ".gitignore": b"x\n"})
    push_model(target, repo, annotation={})
    publish(repo, "hf_test", {"figures/roc.png": b"png"})
    other = load_model("builtin/digits-overfit", cache_dir=tmp_path)
    push_model(other, repo, annotation={})
    assert files_of(hub, repo)["figures/roc.png"] == b"png" and files_of(hub, repo)["LICENSE"] == b"MIT\n"
    publish(repo, "hf_test", {"pytorch_model.bin": b"pickle"})
    with pytest.raises(UsageError, match=r"did not write: pytorch_model\.bin"):
        push_model(target, repo, annotation={})
    push_model(target, repo, annotation={}, replace=True)
    assert "pytorch_model.bin" not in api.list_repo_files(repo) and "figures/roc.png" in api.list_repo_files(repo)
    pixels = torch.ones(1, 1, 32, 32)
    assert torch.equal(load_model(f"hf-hub:{repo}", cache_dir=tmp_path).module(pixels), target.module(pixels))


def test_eval_yaml_names_a_framework_of_the_hub(hub: Hub, measured: tuple[Result, Path], capsys: pytest.CaptureFixture[str]) -> None:
    result, folder = measured
    repo, push = "tester/benchmark", ["push", "results", str(folder)]
    assert len(FRAMEWORKS) == len(set(FRAMEWORKS)) == 30 and "securitynet" not in FRAMEWORKS
    for wrong, words in (
        ([*push], "say where to"),
        ([*push, "--to", repo, "--benchmark"], "go together"),
        ([*push, "--to", repo, "--framework", "mteb"], "go together"),
        ([*push, "--to-model", "tester/x", "--benchmark", "--framework", "mteb"], "go together"),
        ([*push, "--to", repo, "--benchmark", "--framework", "securitynet"], "has no securitynet yet"),
        ([*push, "--to", repo, "--benchmark", "--framework", "inspect"], "did you mean inspect-ai"),
    ):
        assert main(wrong) == 2 and words in capsys.readouterr().err, wrong
    assert ("datasets", repo) not in hub.repos, "what is refused leaves nothing behind"
    push_results(result.rows, repo)
    assert "eval.yaml" not in files_of(hub, repo, kind="datasets")
    assert main([*push, "--to", repo, "--benchmark", "--framework", "inspect-ai"]) == 0
    made = yaml.safe_load(files_of(hub, repo, kind="datasets")["eval.yaml"])
    assert made["evaluation_framework"] == "inspect-ai" and {"name", "description", "tasks"} <= made.keys()
    assert {"id": "membership/loss/auc", "config": "membership", "split": "train"} in made["tasks"]
    assert push_results(result.rows, repo, framework="inspect-ai").files == 0


def test_contribute_proposes_the_results_too(
    hub: Hub,
    measured: tuple[Result, Path],
    small: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result, folder = measured
    catalog, community = "tester/contribution-catalog", "tester/contribution-community"
    push_catalog(small, catalog)
    push_results([row for row in result.rows if row.family == "verify"][:1], community)
    record = load_model("builtin/digits-overfit").entry.to_record()
    changed = {"id": "somebody/mine", "source": "somebody", "name": "mine", "loader": "checkpoint", "hub_id": "somebody/mine"}
    none = dict.fromkeys(("members_file", "weights_hash", "hash_algorithm"))
    (tmp_path / "entry.json").write_text(json.dumps({**record, **changed, **none, "integrity": "none"}))
    asked = ["contribute", str(tmp_path / "entry.json"), "--to", catalog, "--results", str(folder), "--results-to", community]
    assert main(asked) == 2 and "not about somebody/mine" in capsys.readouterr().err
    assert not hub.repo("datasets", catalog).discussions
    rows = folder / "rows.jsonl"
    own = tmp_path / "rows.jsonl"
    own.write_text(rows.read_text().replace('"entry": "builtin/digits-overfit"', '"entry": "somebody/mine"'))
    asked[asked.index(str(folder))] = str(own)
    assert main([*asked, "--json"]) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(one["repo"], one["pull_request"]) for one in done] == [(catalog, 1), (community, 1)]
    assert done[1]["rows"] == len(result.rows) and contribute(tmp_path / "entry.json", catalog).pull_request == 1
    assert main(["contribute", "--results", str(own), "--results-to", community]) == 0
    assert "pull request 1 is open already" in capsys.readouterr().out
    assert main(["contribute"]) == 2
