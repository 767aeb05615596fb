"""Results on the Hub: types, idempotence, several writers, and what else lies in the repo."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hub import Hub

from securitynet.errors import DataError, HubError, UsageError
from securitynet.hub import Pushed, push_results
from securitynet.hub.write import Remote
from securitynet.results.row import Row, row_features


def row(number: int, family: str = "membership", **changes: Any) -> Row:
    given: dict[str, Any] = {"entry": "made/up", "weights_sha256": "0" * 64, "dataset": "digits", "manifest": "m", "family": family}
    measured = {"value": number / 7, "ci_low": None, "status": "ok", "n": 2**40 + number, "queries": number, "processes": 1}
    texts = {"attack": f"{family}/loss", "metric": f"auc_{number}", "date": "2026-01-02T03:04:05", "reason": "a | b\n`c`", "device": "cpu"}
    return Row(**(given | measured | texts | {"seed": number} | changes))


def loaded(repo: str, config: str | None = None, revision: str | None = None) -> Any:
    import datasets

    datasets.config.USE_PARQUET_EXPORT = False
    return datasets.load_dataset(repo, config, split="train", revision=revision)


def shards(repo: str) -> list[str]:
    from huggingface_hub import HfApi

    return [path for path in HfApi().list_repo_files(repo, repo_type="dataset") if path.endswith(".parquet")]


def commits(repo: str, kind: str = "dataset") -> int:
    from huggingface_hub import HfApi

    return len(HfApi().list_repo_commits(repo, repo_type=kind))


def test_rows_come_back_as_they_were(hub: Hub) -> None:
    rows = [row(1), row(2, value=None, status="skipped"), row(3, "verify"), row(4, "stealing", seed=None, date=None)]
    pushed = push_results(rows, "securitynet/results-types")
    assert (pushed.rows, pushed.files, pushed.pull_request) == (4, 4, None)
    found = loaded("securitynet/results-types", "membership")
    assert found.features == row_features()
    assert loaded("securitynet/results-types").num_rows == 2, "membership is the default"
    for config, expected in (("membership", rows[:2]), ("verify", rows[2:3]), ("stealing", rows[3:])):
        records = [one | {"date": one["date"] and one["date"].isoformat()} for one in loaded("securitynet/results-types", config)]
        assert {one["row_id"]: one for one in records} == {one.row_id: one.to_record() for one in expected}


def test_the_same_rows_twice_change_nothing(hub: Hub) -> None:
    repo, rows = "securitynet/results-twice", [row(number) for number in range(5)]
    first = push_results(rows[:3], repo)
    again = push_results([*rows[:3], replace(rows[0], value=0.9, seconds=3.0)], repo)
    assert (again.rows, again.files, again.commit) == (0, 0, first.commit) and commits(repo) == 2
    more = push_results([*rows, *rows], repo)
    assert more.rows == 2 and commits(repo) == 3 and len(shards(repo)) == 2
    found = loaded(repo, "membership", more.commit)
    assert sorted(found["row_id"]) == sorted(one.row_id for one in rows)
    assert dict(zip(found["row_id"], found["value"], strict=True))[rows[0].row_id] == rows[0].value, "the first value stays"


def test_two_writers_at_once_lose_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """All read the same commit before any writes."""
    repo, results = "securitynet/results-race", []
    parts = [[row(number) for number in range(start, start + 4)] for start in (0, 2, 4, 6)]
    push_results(parts[0][:1], repo)
    barrier, paths, waited = threading.Barrier(len(parts)), Remote.paths, set()

    def together(self: Remote, revision: str) -> list[str]:
        if threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            barrier.wait(60)
        return paths(self, revision)

    monkeypatch.setattr(Remote, "paths", together)

    def work(part: list[Row]) -> None:
        results.append(push_results(part, repo))

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.rows or 0 for one in results) == 9
    found = loaded(repo, "membership", commit_of(repo))
    assert sorted(found["row_id"]) == sorted(row(number).row_id for number in range(10))
    assert any(one.status == 412 for one in hub.requests), "the race took place"


def test_of_two_writers_of_the_same_rows_one_pushed_them(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second planned the very same rows on the same commit and finds them there when it commits."""
    from huggingface_hub import HfApi

    repo, part, others = "securitynet/results-same", [row(number) for number in range(3)], []
    push_results(part[:1], repo)
    commit = HfApi.create_commit

    def after_another(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(HfApi, "create_commit", commit)
        others.append(push_results(part, repo))
        return commit(*args, **options)

    monkeypatch.setattr(HfApi, "create_commit", after_another)
    late = push_results(part, repo)
    assert ([one.rows for one in others], late.rows, late.files) == ([2], 0, 0)
    assert late.commit == others[0].commit and commits(repo) == 3
    assert sorted(loaded(repo, "membership", late.commit)["row_id"]) == sorted(one.row_id for one in part)


def turn_over(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(content)


@pytest.mark.parametrize(("place", "linked"), [(8, True), (-20, True), (-20, False)])  # in the rows, which may still parse; in the footer
def test_a_damaged_shard_in_the_cache_is_fetched_again(hub: Hub, place: int, linked: bool) -> None:
    """The ids in it would be wrong, or nothing could be pushed any more."""
    from huggingface_hub import snapshot_download

    repo = f"securitynet/results-damaged-{abs(place)}-{linked}"
    push_results([row(number) for number in range(50)], repo)
    folder = Path(snapshot_download(repo, repo_type="dataset"))
    (cached,) = folder.glob("*/*.parquet")
    whole = cached.read_bytes()
    if not linked:  # as on file systems without links
        cached.unlink()
        cached.write_bytes(whole)
    turn_over(cached, place)
    again = push_results([row(number) for number in range(51)], repo)
    assert again.rows == 1 and sorted(loaded(repo, "membership", again.commit)["row_id"]) == sorted(row(n).row_id for n in range(51))
    assert cached.read_bytes() == whole


def readme(repo: str) -> str:
    """The card as it lies there."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, "README.md", repo_type="dataset")).read_text()


def commit_of(repo: str) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(repo).sha)


def test_the_card_is_a_persons_too(hub: Hub) -> None:
    from huggingface_hub import DatasetCard, HfApi

    repo = "securitynet/results-card"
    push_results([row(1)], repo)
    text = readme(repo)
    assert all(f"| `{name}` | `{dtype.dtype}` |" in text for name, dtype in row_features().items())
    own = text.replace("tags:", "license: mit # ours\ntags:").replace("## Columns", "Measured by us.\n\n## Columns")
    HfApi().upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=own.encode(), path_in_repo="README.md")
    push_results([row(2, "backdoor")], repo)
    configs = DatasetCard.load(repo).data.to_dict()["configs"]
    assert [one["config_name"] for one in configs] == ["backdoor", "membership"]
    assert "license: mit # ours\n" in readme(repo) and "Measured by us." in readme(repo)
    assert loaded(repo, "backdoor").features == row_features()


def test_a_pull_request_is_opened_once(hub: Hub) -> None:
    from huggingface_hub import HfApi

    repo = "securitynet/results-wish"
    with pytest.raises(HubError, match="no such repo to open a pull request on"):
        push_results([row(1)], repo, create_pr=True)
    push_results([row(1)], repo)
    wish = push_results([row(1), row(2)], repo, create_pr=True)
    assert (wish.pull_request, wish.rows) == (1, 1) and wish.url.endswith("/discussions/1")
    assert push_results([row(1), row(2)], repo, create_pr=True).pull_request == 1
    assert len(loaded(repo, revision="refs/pr/1")) == 2 and len(loaded(repo)) == 1
    HfApi().merge_pull_request(repo, 1, repo_type="dataset")
    assert push_results([row(2)], repo, create_pr=True) == Pushed(repo, commit_of(repo), wish.url.partition("/discussions")[0], rows=0)


def test_what_cannot_be_pushed_is_refused_in_one_line(hub: Hub) -> None:
    from huggingface_hub import HfApi

    with pytest.raises(UsageError, match="no rows"):
        push_results([], "securitynet/results-none")
    with pytest.raises(UsageError, match="cannot name a config"):
        push_results([row(1, "../up")], "securitynet/results-none")
    with pytest.raises(UsageError, match="names no owner"):
        push_results([row(1)], "results")
    with pytest.raises(UsageError, match="is no name of a repo"):
        push_results([row(1)], "a/b/c")
    with pytest.raises(DataError, match="do not fit their columns"):
        push_results([row(1, n="many")], "securitynet/results-none")
    repo = HfApi().create_repo("securitynet/results-other", repo_type="dataset").repo_id
    HfApi().upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=b"{}", path_in_repo="data/x.jsonl")
    with pytest.raises(HubError, match=r"no repo of results, it holds data/x.jsonl"):
        push_results([row(1)], repo)


def test_the_method_of_a_result(hub: Hub, tmp_path: Path) -> None:
    from securitynet import evaluate
    from securitynet.hub.results import read_results

    result = evaluate("builtin/digits-regular", attacks=["membership/loss"], cache_dir=tmp_path, samples=50)
    assert result.push_to_hub("securitynet/results-method").rows == len(result.rows)
    assert set(loaded("securitynet/results-method", "verify")["metric"]) >= {"test_accuracy", "overfit_gap"}
    read = read_results(result.save(tmp_path / "saved"))
    assert tuple(read) == result.rows and push_results(read, "securitynet/results-method").rows == 0
    (tmp_path / "bad.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="not rows"):
        read_results(tmp_path / "bad.jsonl")
    with pytest.raises(UsageError, match=r"holds no rows.jsonl"):
        read_results(tmp_path)


def test_the_command(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from securitynet.cli import main
    from securitynet.results.store import write_rows

    write_rows(tmp_path / "rows.jsonl", [row(1), row(2)])
    assert main(["push", "results", str(tmp_path), "--to", "tester/results-command", "--private"]) == 0
    assert capsys.readouterr().out.startswith("tester/results-command: 2 new rows\n")
    assert hub.repo("datasets", "tester/results-command").private
    assert main(["push", "results", str(tmp_path / "rows.jsonl"), "--to", "tester/results-command", "--json"]) == 0
    assert '"rows": 0' in capsys.readouterr().out
    assert main(["push", "results", str(tmp_path / "none"), "--to", "tester/results-command"]) == 2
    assert main(["push", "results", str(tmp_path), "--to", "strangers/results"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("securitynet: strangers/results: the token may not write there") and "hf_test" not in error
