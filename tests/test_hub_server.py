"""The local Hub against the real clients: models, datasets, pull requests, ranges, private repos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hub import Hub


def test_a_model_repo_goes_round(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    api = HfApi()
    assert api.whoami()["name"] == "tester"
    repo = api.create_repo("securitynet/round").repo_id
    assert api.create_repo(repo, exist_ok=True).repo_id == repo
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "weights.bin").write_bytes(b"\0\1" * 5000)
    (tmp_path / "README.md").write_text("---\nlicense: mit\ntags: [tiny]\n---\n# Round\n")
    first = api.upload_folder(repo_id=repo, folder_path=tmp_path)
    api.create_tag(repo, tag="v1")
    second = api.upload_file(repo_id=repo, path_or_fileobj=b"more", path_in_repo="more.txt", parent_commit=first.oid)
    api.delete_file("more.txt", repo)
    assert set(api.list_repo_files(repo)) == {".gitattributes", "README.md", "folder/weights.bin"}
    assert [commit.commit_id for commit in api.list_repo_commits(repo)][1:3] == [second.oid, first.oid]
    pinned = Path(snapshot_download(repo, revision="v1"))
    assert (pinned / "folder" / "weights.bin").read_bytes() == b"\0\1" * 5000
    assert Path(hf_hub_download(repo, "more.txt", revision=second.oid)).read_text() == "more"
    assert ModelCard.load(repo).data.license == "mit"
    assert [model.id for model in api.list_models(filter="tiny")] == [repo]
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(repo, "more.txt")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("securitynet/nowhere")


def test_a_pull_request_is_merged(hub: Hub) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    repo = api.create_repo("tester/wish", repo_type="dataset").repo_id
    main = api.dataset_info(repo).sha
    asked = api.upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=b"{}", path_in_repo="a.json", create_pr=True)
    api.upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=b"[]", path_in_repo="b.json")
    assert asked.pr_revision == "refs/pr/1"
    assert "a.json" in api.list_repo_files(repo, repo_type="dataset", revision="refs/pr/1")
    with pytest.raises(HfHubHTTPError, match="412"):
        api.upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=b"", path_in_repo="c", parent_commit=main)
    api.merge_pull_request(repo, 1, repo_type="dataset")
    assert {"a.json", "b.json"} <= set(api.list_repo_files(repo, repo_type="dataset"))
    assert api.get_discussion_details(repo, 1, repo_type="dataset").status == "merged"


def test_private_repos_are_hidden_and_foreign_ones_closed(hub: Hub) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    HfApi().create_repo("tester/secret", private=True)
    assert HfApi().model_info("tester/secret").private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).model_info("tester/secret")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi().create_repo("others/model")


def test_a_range_of_a_file_is_sent_and_counted(hub: Hub) -> None:
    from huggingface_hub import HfApi, HfFileSystem

    HfApi().create_repo("tester/range", repo_type="dataset")
    content = bytes(range(256)) * 4000
    HfApi().upload_file(repo_id="tester/range", repo_type="dataset", path_or_fileobj=content, path_in_repo="x.bin")
    before = len(hub.requests)
    with HfFileSystem().open("datasets/tester/range/x.bin", block_size=2**14) as handle:
        handle.seek(500_000)
        assert handle.read(100) == content[500_000:500_100]
    read = [one.sent for one in hub.requests[before:] if one.method == "GET" and one.path.endswith("x.bin")]
    assert 0 < sum(read) < 50_000
