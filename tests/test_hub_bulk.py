"""catalog import hub on a simulated Hub that enforces its limits: what becomes a record, what stays, what is marked."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from simulated import SimulatedHub, bulk, content, folder_of, hub_records, timm_records

from securitynet.entry import Entry
from securitynet.errors import HubError
from securitynet.importers.onhub.listed import Filters
from securitynet.maintenance.check import check

REPOS = 300
KNOWN = 12


def small(place: Path) -> tuple[Path, SimulatedHub]:
    models = timm_records(KNOWN)
    return folder_of(place, models), SimulatedHub(REPOS, tuple(record["hub_id"] for record in models))


class Killed(BaseException):
    """The end of a process, as far as one process can play it."""


def test_repos_become_records_that_pass_the_checks(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    report = bulk(folder, hub)
    found = hub_records(folder)
    zoo = [json.loads(line) for line in (folder / "models" / "model_j.jsonl").read_text().splitlines()]
    assert (report.listed, len(found) + len(zoo), len(report.filled)) == (REPOS, REPOS - KNOWN, KNOWN)
    assert hub.counts["file"] <= 1.2 * REPOS and report.requests == dict(hub.counts)
    assert [one for one in check(folder) if one.startswith("models/")] == []
    for repo, record in found.items():
        known = json.loads(record["known_by"])
        assert (record["id"], record["revision"]) == (f"hub/{repo}", hub.sha(repo)) and Entry.from_record(record).pin == "pinned"
        named = {name for name in known if record[name] is not None}
        wanted = ("architecture", "num_classes", "dataset", "labels", "licence", "base_model", "claimed_accuracy", "processor")
        facts = {name for name in wanted if record[name] is not None}
        assert facts <= named, "each fact has how it is known"
        if record["integrity"] == "full":
            assert record["weights_hash"] == hub.weights(repo) and record["weights_url"].count(hub.sha(repo)) == 1
    assert sum(record["integrity"] == "full" for record in found.values()) > 0.9 * len(found)
    datasets = {json.loads(record["known_by"])["dataset"] for record in found.values() if record["dataset"]}
    assert {"labels", "card; labels"} <= datasets


def test_known_repos_fill_the_records_of_their_source(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    bulk(folder, hub)
    for line in (folder / "models" / "timm.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["flags"] and "hub-gated" in record["flags"]:
            continue
        assert (record["revision"], record["weights_hash"]) == (hub.sha(record["hub_id"]), hub.weights(record["hub_id"]))
        assert record["weights_size"] and record["integrity"] == "full" and f"/resolve/{record['revision']}/" in record["weights_url"]
    assert not set(hub_records(folder)) & set(hub.known)


def test_a_zoo_is_a_source_of_its_own(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    bulk(folder, hub, ratio=4.0)
    zoo = [json.loads(line) for line in (folder / "models" / "model_j.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in (folder / "results" / "model_j.jsonl").read_text().splitlines()]
    assert {record["source"] for record in zoo} == {"model_j"} and all(record["id"] == f"model_j/{record['name']}" for record in zoo)
    one = zoo[0]
    assert (one["num_classes"], len(one["labels"]), one["dataset"], one["claimed_accuracy"]) == (50, 50, "CIFAR-100", 0.7012)
    assert "val accuracy 0.7100" in one["notes"] and "train accuracy 0.9900" in one["notes"]
    assert {(row["metric"], row["value"]) for row in rows if row["entry"] == one["id"]} == {
        ("train_accuracy", 0.99),
        ("test_accuracy", 0.7012),
    }


def test_the_same_state_again_changes_nothing(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    bulk(folder, hub)
    before, files = content(folder), hub.counts["file"]
    report = bulk(folder, hub)
    assert content(folder) == before and report.files == [] and hub.counts["file"] == files
    for path in (tmp_path / "state").iterdir():
        path.unlink()
    assert bulk(folder, hub).files == [] and content(folder) == before, "nor without what was kept of the first"


@pytest.mark.parametrize("labels", [True, False])
def test_cut_off_five_times_it_ends_with_the_same_records(tmp_path: Path, labels: bool) -> None:
    models = timm_records(KNOWN)
    known = tuple(record["hub_id"] for record in models)
    whole, cut = folder_of(tmp_path / "a", models), folder_of(tmp_path / "b", models)
    hub = SimulatedHub(REPOS, known, labels=labels, page=100)
    bulk(whole, hub)
    total = 0
    for moment in (2, 3, 60, 90, 120):
        broken = SimulatedHub(REPOS, known, labels=labels, page=100)

        def die(number: int, moment: int = moment) -> None:
            if number >= moment:
                raise Killed

        broken.die = die
        with pytest.raises(Killed):
            bulk(cut, broken)
        total += sum(broken.counts.values())
    last = SimulatedHub(REPOS, known, labels=labels, page=100)
    bulk(cut, last)
    assert content(cut) == content(whole)
    assert total + sum(last.counts.values()) < sum(hub.counts.values()) + 5 * 20, "what was read is not read again"


def test_what_became_of_repos_is_marked_and_nothing_is_lost(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    bulk(folder, hub)
    before = hub_records(folder)
    free = sorted(repo for repo in before if repo.startswith("user") and before[repo]["integrity"] == "full")
    gone, renamed, gated, moved = free[0], free[1], free[2], free[3]
    hub.changed = {gone: "gone", renamed: "renamed other/name", gated: "gated", moved: "moved"}
    report = bulk(folder, hub)
    after = hub_records(folder)
    assert after[gone]["flags"] == ["hub-gone"] and after[gated]["flags"] == ["hub-gated"]
    assert {**after[gone], "flags": None} == before[gone] and {**after[gated], "flags": None} == before[gated]
    new = after["other/name"]
    assert (new["id"], new["aliases"], new["weights_hash"]) == ("hub/other/name", [f"hub/{renamed}"], before[renamed]["weights_hash"])
    assert renamed not in after and "hub-renamed" in new["flags"] and report.renamed == {renamed: "other/name"}
    assert after[moved] == before[moved] and report.moved == [f"hub/{moved}"], "what was pinned stays"
    again = content(folder)
    assert bulk(folder, hub).files == [] and content(folder) == again
    bulk(folder, hub, update=True)
    assert hub_records(folder)[moved]["revision"] == hub.sha(moved) != before[moved]["revision"]
    hub.changed = {renamed: "renamed other/name"}
    bulk(folder, hub, update=True)
    assert hub_records(folder)[gone] == before[gone], "it is there again"


def test_equal_weights_are_linked(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    report = bulk(folder, hub)
    found = hub_records(folder)
    links = {record["id"]: record["same_weights_as"] for record in found.values() if record["same_weights_as"]}
    hashes = {record["id"]: record["weights_hash"] for record in [*found.values(), *map(json.loads, (folder / "models/timm.jsonl").open())]}
    assert report.linked >= len(links) >= 5 and all(hashes[copy] == hashes[original] for copy, original in links.items())


def test_what_a_person_wrote_stays(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    bulk(folder, hub)
    path = folder / "models" / "hub.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0] |= {"train_size": 2025, "purpose": "security"}
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    assert bulk(folder, hub, update=True).files == []
    assert json.loads(path.read_text().splitlines()[0])["train_size"] == 2025


def test_filters_say_what_is_listed_and_mark_nothing(tmp_path: Path) -> None:
    folder, hub = small(tmp_path)
    bulk(folder, hub)
    before = hub_records(folder)
    hub.changed = dict.fromkeys(list(before)[:5], "gone")
    report = bulk(folder, hub, Filters(min_downloads=1000))
    assert 0 < report.listed < REPOS and report.gone == [] and hub_records(folder) == before


def test_limits_are_kept_however_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hub_simulated

    monkeypatch.setitem(hub_simulated.LIMITS, "file", 100)
    folder, hub = small(tmp_path)
    bulk(folder, hub)
    windows = -(-hub.counts["file"] // 100)
    assert (windows - 1) * 5 <= hub.clock.now() / 60 <= windows * 5 and hub.refused <= 8


def test_a_hub_that_answers_something_else_is_an_error(tmp_path: Path) -> None:
    from securitynet.importers.onhub.calls import Answer

    folder, hub = small(tmp_path)
    send = hub.send
    hub.send = lambda method, address, most: Answer(200, {}, b"<html>")  # type: ignore[method-assign]
    with pytest.raises(HubError, match="not a list"):
        bulk(folder, hub)
    hub.send = lambda method, address, most: Answer(200, {"link": '<https://evil/x>; rel="next"'}, b"[]")  # type: ignore[method-assign]
    with pytest.raises(HubError, match="another address"):
        bulk(folder, hub)
    hub.send = send  # type: ignore[method-assign]
    assert bulk(folder, hub).listed == REPOS


RUN = """
import json, signal, sys, time
from pathlib import Path
from simulated import SimulatedHub, bulk
from securitynet.maintenance import papers  # everything is imported before the clock runs
folder, known, seconds = Path(sys.argv[1]), json.loads(sys.argv[2]), float(sys.argv[3])
start = time.process_time()
signal.setitimer(signal.ITIMER_PROF, seconds)
bulk(folder, SimulatedHub(300, tuple(known), page=100))
signal.setitimer(signal.ITIMER_PROF, 0)
print(time.process_time() - start)
"""


def test_killed_at_random_moments_it_ends_with_the_same_records(tmp_path: Path) -> None:
    """The kernel ends it, with no chance to clean up, after a random part of the processor time that a whole import takes."""
    models = timm_records(KNOWN)
    known = json.dumps([record["hub_id"] for record in models])
    whole, killed = folder_of(tmp_path / "a", models), folder_of(tmp_path / "b", models)

    def run(folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", RUN, str(folder), known, str(seconds)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    first = run(whole, 0)
    assert first.returncode == 0, first.stderr
    moments, deaths = random.Random(19), 0
    for _ in range(40):
        done = run(killed, max(0.002, moments.random() * float(first.stdout)))
        assert done.returncode in (0, -signal.SIGPROF), done.stderr
        deaths += done.returncode != 0
        if deaths == 5:
            break
    assert deaths == 5, "five of these moments are within an import"
    last = run(killed, 0)
    assert last.returncode == 0 and content(killed) == content(whole), last.stderr
    assert not [path for path in killed.rglob("*") if path.is_file() and path.suffix not in (".jsonl", ".md")], "no part of a file stays"
