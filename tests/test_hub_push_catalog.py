"""The catalog on the Hub: pushed, tagged, read at two tags with and without a network, contributed to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub import Hub

import securitynet
from securitynet import catalog
from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.errors import DataError, DownloadError, HubError, UsageError
from securitynet.hub import contribute, push_catalog
from securitynet.maintenance.card import build_card
from securitynet.maintenance.records import text_of

CATALOG = Path(str(catalog.__file__)).parent


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A catalog of the built-in models, without published measurements."""
    folder = tmp_path / "small"
    shutil.copytree(CATALOG / "datasets", folder / "datasets")
    shutil.copytree(CATALOG / "papers", folder / "papers")
    for config in ("models", "results", "projects"):
        (folder / config).mkdir()
    shutil.copy(CATALOG / "models" / "builtin.jsonl", folder / "models")
    (folder / "results" / "made.jsonl").write_text(text_of([made_up_row()]))
    project = (CATALOG / "projects" / "zhang2024.jsonl").read_text().splitlines()[0]
    (folder / "projects" / "zhang2024.jsonl").write_text(project + "\n")
    (folder / "README.md").write_text("# A small catalog\n")
    while lacking := re.search(r"no place for (\w+ \w+)", problem(folder)):
        with (folder / "README.md").open("a") as card:
            card.write(f"<!-- begin {lacking[1]} -->\n<!-- end {lacking[1]} -->\n")
    return built(folder)


def problem(folder: Path) -> str:
    try:
        build_card(folder)
    except DataError as error:
        return str(error)
    return ""


def made_up_row() -> dict[str, Any]:
    given = {"entry": "builtin/digits-regular", "dataset": "digits", "family": "membership", "attack": "membership/loss"}
    return securitynet.Row(**given, metric="auc", value=0.5, origin="made").to_record()  # type: ignore[arg-type]


def built(folder: Path) -> Path:
    assert main(["catalog", "build", "--catalog", str(folder), "--json"]) == 0
    return folder


def record(name: str = "mine", **changes: Any) -> dict[str, Any]:
    known = catalog.entry("builtin/digits-regular").to_record()
    place = {"id": f"somebody/{name}", "source": "somebody", "name": name, "loader": "checkpoint", "hub_id": f"somebody/{name}"}
    return {**known, **place, "members_file": None, "weights_hash": None, "hash_algorithm": None, "integrity": "none", **changes}


def test_two_tags_are_read_with_and_without_a_network(hub: Hub, small: Path) -> None:
    repo = "tester/catalog-tags"
    first = push_catalog(small, repo, tag="v1")
    assert first.tag == "v1" and first.files == len(list(small.rglob("*.*")))
    assert push_catalog(small, repo, tag="v1").files == 0
    lines = (small / "models" / "builtin.jsonl").read_text().splitlines(keepends=True)
    (small / "models" / "somebody.jsonl").write_text(text_of([Entry.from_record(record()).to_record()]))
    with pytest.raises(HubError, match="the tag v1 names another content"):
        push_catalog(built(small), repo, tag="v1")
    second = push_catalog(small, repo)
    assert second.tag == f"v{securitynet.__version__}" and second.commit != first.commit
    for config in catalog.CONFIGS:
        assert securitynet.load_catalog(config, revision="v1", repo=repo).num_rows >= 1
    sizes = {tag: len(securitynet.load_catalog(revision=tag, repo=repo)) for tag in ("v1", second.tag, "main")}
    assert sizes == {"v1": len(lines), second.tag: len(lines) + 1, "main": len(lines) + 1}
    assert securitynet.load_catalog(repo=repo, revision=first.commit)["id"] == [json.loads(line)["id"] for line in lines]
    with pytest.raises(DownloadError, match="revision 'v9' of tester/catalog-tags cannot be fetched"):
        securitynet.load_catalog(revision="v9", repo=repo)
    program = f"import securitynet as s; print(*[len(s.load_catalog(revision=r, repo={repo!r})) for r in ('v1', {second.tag!r})])"
    program += f"; s.load_catalog(revision='v9', repo={repo!r})"
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=offline, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(len(lines)), str(len(lines) + 1)], done.stderr
    assert "DownloadError: revision 'v9'" in done.stderr


def test_a_config_that_a_release_does_not_have_yet(hub: Hub, small: Path) -> None:
    """A release as it was before papers had a config of their own: its card declares four."""
    import yaml
    from huggingface_hub import HfApi

    repo, api = "tester/catalog-old", HfApi()
    shutil.copy(CATALOG / "README.md", small)
    _, front, prose = build_card(small).split("---\n", 2)
    declared = yaml.safe_load(front)
    for key in ("configs", "dataset_info"):
        declared[key] = [one for one in declared[key] if one["config_name"] != "papers"]
    (small / "README.md").write_text(f"---\n{yaml.safe_dump(declared, sort_keys=False)}---\n{prose}")
    shutil.rmtree(small / "papers")
    api.create_repo(repo, repo_type="dataset")
    api.upload_folder(folder_path=str(small), repo_id=repo, repo_type="dataset")
    api.create_tag(repo, tag="v0", repo_type="dataset")
    assert securitynet.load_catalog(revision="v0", repo=repo).num_rows == len((small / "models" / "builtin.jsonl").read_text().splitlines())
    with pytest.raises(UsageError) as caught:
        securitynet.load_catalog("papers", revision="v0", repo=repo)
    assert str(caught.value) == (
        f"revision 'v0' of {repo} has no config 'papers'; choose from models, datasets, results, projects, or another revision"
    )
    api.create_repo("tester/no-catalog", repo_type="dataset")
    api.upload_file(path_or_fileobj=b"a,b\n1,2\n", path_in_repo="some.csv", repo_id="tester/no-catalog", repo_type="dataset")
    with pytest.raises(UsageError, match="revision 'main' of tester/no-catalog has no config 'models'; it is no catalog of models"):
        securitynet.load_catalog(repo="tester/no-catalog")


def test_merged_contributions_are_not_overwritten(hub: Hub, small: Path, tmp_path: Path) -> None:
    """Contributed by pull request, merged, read; a push from a folder without it is refused, one with it goes through."""
    from huggingface_hub import HfApi

    repo, api = "tester/catalog-wish", HfApi()
    push_catalog(small, repo, tag="v1")
    (tmp_path / "entry.json").write_text(json.dumps(record()))
    wish = contribute(tmp_path / "entry.json", repo)
    assert (wish.pull_request, wish.files) == (1, 1)
    assert contribute(record(), repo).pull_request == 1, "the same is asked for once"
    assert contribute(record("other"), repo).pull_request == 2
    changed = set(api.list_repo_files(repo, repo_type="dataset", revision="refs/pr/1")) - set(
        api.list_repo_files(repo, repo_type="dataset")
    )
    assert changed == {"models/somebody.jsonl"}
    api.merge_pull_request(repo, 1, repo_type="dataset")
    found = securitynet.load_catalog(repo=repo).filter(lambda one: one["id"] == "somebody/mine")
    assert Entry.from_record(found[0]).to_record() == Entry.from_record(record()).to_record()
    assert contribute(record(), repo).pull_request is None, "it is there"
    with pytest.raises(UsageError, match="has a record of that id already"):
        contribute(record(notes="another"), repo)
    with pytest.raises(HubError, match=r"has somebody/mine in models, which this folder lacks"):
        push_catalog(small, repo)
    (small / "models" / "somebody.jsonl").write_text(text_of([Entry.from_record(record()).to_record()]))
    assert push_catalog(built(small), repo).files >= 1, "the card with new numbers"


def test_records_that_are_refused(hub: Hub, small: Path, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    repo = "tester/catalog-strict"
    push_catalog(small, repo)
    with pytest.raises(DataError, match="dataset 'nothing' is no key"):
        contribute(record(dataset="nothing"), repo)
    with pytest.raises(DataError, match="loader 'mine' is no module"):
        contribute(record(loader="mine"), repo)
    with pytest.raises(UsageError, match="id must be source/name"):
        contribute(record(source="../up"), repo)
    with pytest.raises(UsageError, match="unknown column"):
        contribute({**record(), "colour": "red"}, repo)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UsageError, match="one JSON object"):
        contribute(tmp_path / "list.json", repo)
    assert not list(HfApi().get_repo_discussions(repo, repo_type="dataset"))
    (small / "models" / "builtin.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"problems, the first: models/builtin.jsonl line 1"):
        push_catalog(small, repo, tag="v2")


def test_the_commands(hub: Hub, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = "tester/catalog-command"
    assert main(["push", "catalog", "--catalog", str(small), "--to", repo, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["tag"] == f"v{securitynet.__version__}"
    (tmp_path / "entry.json").write_text(json.dumps(record()))
    assert main(["contribute", str(tmp_path / "entry.json"), "--to", repo]) == 0
    assert "pull request 1 with 1 files" in capsys.readouterr().out
    assert main(["contribute", str(tmp_path / "none.json"), "--to", repo]) == 2
    assert "No such file" in capsys.readouterr().err
