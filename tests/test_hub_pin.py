"""catalog pin: commits, hashes and sizes come from the Hub and from nowhere else; imports and add keep them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from simulated import SimulatedHub, calls_of, folder_of, timm_records

from securitynet import catalog
from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.importers.onhub.pin import pin_catalog
from securitynet.importers.onhub.pins import linked, reconciled
from securitynet.maintenance import records

if TYPE_CHECKING:
    from hub import Hub

BUILTIN = Path(str(catalog.__file__)).parent / "builtin"


def many(number: int) -> list[records.Record]:
    """Return records of so many repos that lie on the Hub, none of them pinned."""
    one = timm_records(1)[0]
    return [
        one | {"id": f"timm/m{place}", "name": f"m{place}", "hub_id": f"timm/m{place}",
               "weights_url": f"https://huggingface.co/timm/m{place}/resolve/main/model.safetensors"} for place in range(number)
    ]  # fmt: skip


class Killed(BaseException):
    """The end of a process, as far as one process can play it."""


def test_two_thousand_repos_within_the_limits_cut_off_and_gone_on_with(tmp_path: Path) -> None:
    models = many(2000)
    folder = folder_of(tmp_path, models)
    hub = SimulatedHub(2000, tuple(record["hub_id"] for record in models))
    hub.changed = {"timm/m5": "gone", "timm/m6": "gated", "timm/m7": "renamed new/m7"}

    def die(number: int) -> None:
        if number == 1500:
            raise Killed

    hub.die = die
    with pytest.raises(Killed):
        pin_catalog(folder, calls_of(hub), tmp_path / "state")
    assert records.read(folder / "models" / "timm.jsonl") == models, "all or nothing"
    report = pin_catalog(folder, calls_of(hub), tmp_path / "state", "timm")
    assert hub.counts["file"] < 2100 and hub.refused == 0 and hub.clock.now() < 300
    assert (report.gone, report.gated, len(report.pinned)) == (["timm/m5"], ["timm/m6"], 1998)
    assert report.state == {"pinned": 1998, "none": 2}
    for record in records.read(folder / "models" / "timm.jsonl"):
        old = f"timm/{record['name']}"
        if record["name"] in ("m5", "m6"):
            assert (record["revision"], record["weights_hash"], Entry.from_record(record).pin) == (None, None, "none")
            continue
        assert (record["revision"], record["weights_hash"], record["integrity"]) == (hub.sha(old), hub.weights(old), "full")
        assert record["weights_url"] == f"https://huggingface.co/{record['hub_id']}/resolve/{record['revision']}/model.safetensors"
    seven = next(one for one in records.read(folder / "models" / "timm.jsonl") if one["name"] == "m7")
    assert (seven["id"], seven["hub_id"], seven["aliases"]) == ("timm/m7", "new/m7", ["hub/timm/m7"])
    asked = hub.counts["file"]
    hub.die = lambda number: None
    assert pin_catalog(folder, calls_of(hub), tmp_path / "state").files == [] and hub.counts["file"] == asked + 2, "only what is open"


def test_what_differs_from_the_record_is_told_and_left_alone(tmp_path: Path) -> None:
    models = many(4)
    models[0] |= {"hash_algorithm": "sha256", "weights_hash": "ab" * 32, "integrity": "full", "hash_of": "file"}
    models[1] |= {"weights_size": 5}
    hub = SimulatedHub(4, tuple(record["hub_id"] for record in models))
    models[2] |= {"hash_algorithm": "sha256", "weights_hash": hub.weights("timm/m2")[:8], "integrity": "prefix", "hash_of": "file"}
    folder = folder_of(tmp_path, models)
    report = pin_catalog(folder, calls_of(hub), tmp_path / "state")
    found = records.read(folder / "models" / "timm.jsonl")
    assert set(report.conflicts) == {"timm/m0", "timm/m1"} and found[:2] == models[:2]
    assert found[2]["weights_hash"] == hub.weights("timm/m2") and found[2]["integrity"] == "full"


def test_many_files_of_one_repo_take_one_request(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real sockets and the real client: hashes and commits of the Hub in one pass, a renamed and a missing repo among them."""
    from huggingface_hub import HfApi

    api, folder = HfApi(), folder_of(tmp_path, [])
    content = {f"part{place}.safetensors": b"weights %d" % place for place in range(5)}
    for name, files in {"pins-many": content, "pins-one": {"model.safetensors": b"weights 3"}}.items():
        api.create_repo(f"securitynet/{name}", exist_ok=True)
        for path, data in files.items():
            api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=f"securitynet/{name}")
    heads = {name: str(api.model_info(f"securitynet/{name}").sha) for name in ("pins-many", "pins-one")}
    one = many(1)[0]
    places = [("pins-many", path) for path in content] + [("pins-one", "model.safetensors"), ("pins-none", "model.safetensors")]
    models = [
        one | {"id": f"timm/p{number}", "name": f"p{number}", "hub_id": f"securitynet/{repo}", "weights_file": path,
               "weights_url": f"https://huggingface.co/securitynet/{repo}/resolve/main/{path}"}
        for number, (repo, path) in enumerate(places)
    ]  # fmt: skip
    (folder / "models" / "timm.jsonl").write_text(records.text_of(models), encoding="utf-8")
    before = len(hub.requests)
    assert main(["catalog", "pin", "--catalog", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    asked = [(one.method, one.path) for one in hub.requests[before:]]
    assert len(asked) == 3, "one description, two HEADs: no weights are fetched"
    assert all(method == "HEAD" or path.startswith("/api/models/") for method, path in asked)
    assert (len(report["pinned"]), report["gone"], report["state"]) == (6, ["timm/p6"], {"pinned": 6, "none": 1})
    found = {record["id"]: record for record in records.read(folder / "models" / "timm.jsonl")}
    for number, (repo, path) in enumerate(places[:6]):
        record, data = found[f"timm/p{number}"], content.get(path, b"weights 3")
        assert (record["weights_hash"], record["weights_size"]) == (hashlib.sha256(data).hexdigest(), len(data))
        assert record["revision"] == heads[repo] and heads[repo] in record["weights_url"]
    assert report["linked"] == {"timm/p5": "timm/p3"} and found["timm/p5"]["same_weights_as"] == "timm/p3"
    assert main(["catalog", "pin", "--catalog", str(folder)]) == 0
    assert "6 pinned" in capsys.readouterr().out


def test_the_hub_in_bulk_over_sockets(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub import HfApi

    api, folder = HfApi(), folder_of(tmp_path, [])
    for name in ("digits-regular", "digits-overfit"):
        api.create_repo(f"securitynet/bulk-{name}", exist_ok=True)
        api.upload_folder(folder_path=str(BUILTIN / name), repo_id=f"securitynet/bulk-{name}")
    before = len(hub.requests)
    command = ["catalog", "import", "hub", "--catalog", str(folder), "--author", "securitynet", "--search", "bulk-", "--requests", "3"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["listed"] == 2 and sorted(report["added"]) == [
        "hub/securitynet/bulk-digits-overfit",
        "hub/securitynet/bulk-digits-regular",
    ]
    assert not [one for one in hub.requests[before:] if one.method == "GET" and one.path.endswith(".safetensors")]
    record = {one["id"]: one for one in records.read(folder / "models" / "hub.jsonl")}["hub/securitynet/bulk-digits-regular"]
    original = catalog.entry("builtin/digits-regular")
    assert (record["architecture"], record["num_classes"], record["loader"]) == (original.architecture, 10, "timm")
    assert record["weights_hash"] == hashlib.sha256((BUILTIN / "digits-regular" / "model.safetensors").read_bytes()).hexdigest()
    assert record["claimed_accuracy"] == original.claimed_accuracy and json.loads(record["known_by"])["claimed_accuracy"] == "model-index"
    assert main(command) == 0 and "written   nothing" in capsys.readouterr().out


def test_add_leaves_a_known_entry_consistent(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub import HfApi

    api, folder = HfApi(), folder_of(tmp_path, [])
    api.create_repo("securitynet/known", exist_ok=True)
    first = api.upload_folder(folder_path=str(BUILTIN / "digits-regular"), repo_id="securitynet/known").oid
    old = many(1)[0] | {
        "hub_id": "securitynet/known", "dataset": "digits", "num_classes": 10, "notes": "ours",
        "weights_url": "https://huggingface.co/securitynet/known/resolve/main/model.safetensors",
    }  # fmt: skip
    (folder / "models" / "timm.jsonl").write_text(records.text_of([old]), encoding="utf-8")
    command = ["catalog", "add", "--catalog", str(folder), "--from-hub"]
    assert main([*command, "securitynet/known"]) == 0

    def stored() -> Any:
        (record,) = records.read(folder / "models" / "timm.jsonl")
        return record

    assert not (folder / "models" / "securitynet.jsonl").exists() and stored()["notes"] == "ours"
    assert stored()["revision"] == first and first in stored()["weights_url"] and stored()["integrity"] == "full"
    before = stored()
    second = api.upload_file(path_or_fileobj=b"more", path_in_repo="more.txt", repo_id="securitynet/known").oid
    assert main([*command, "securitynet/known"]) == 0 and stored() == before, "the pin stays as a whole"
    assert main([*command, f"securitynet/known@{second}"]) == 0
    assert stored()["revision"] == second and second in stored()["weights_url"] and stored()["weights_hash"] == before["weights_hash"]
    capsys.readouterr()


def test_an_import_keeps_what_was_pinned() -> None:
    old = many(1)[0] | {
        "revision": "a" * 40, "weights_url": f"https://huggingface.co/timm/m0/resolve/{'a' * 40}/model.safetensors",
        "integrity": "full", "hash_algorithm": "sha256", "weights_hash": "b" * 64, "hash_of": "file", "weights_size": 7,
    }  # fmt: skip
    stated = {name: many(1)[0][name] for name in ("hub_id", "weights_url", "weights_file")}
    kept, rest = reconciled(old, stated)
    assert kept == old and rest == {"weights_file": "model.safetensors"}
    other = stated | {"weights_url": "https://huggingface.co/timm/m0/resolve/main/other.safetensors", "weights_file": "other.safetensors"}
    kept, rest = reconciled(old, other)
    assert rest == other and (kept["revision"], kept["weights_hash"], kept["integrity"]) == (None, None, "none")
    moved = old | {"hub_id": "new/m0", "aliases": ["hub/timm/m0"], "weights_url": old["weights_url"].replace("timm/m0", "new/m0")}
    assert reconciled(moved, stated) == (moved, {"weights_file": "model.safetensors"}), "the source gives the former name"


def test_links_lead_to_an_original() -> None:
    whole = {"integrity": "full", "hash_algorithm": "sha256", "hash_of": None, "archive_member": None, "same_weights_as": None}
    one, two = whole | {"weights_hash": "1" * 64}, whole | {"weights_hash": "2" * 64}
    some = [
        one | {"id": "hub/b", "source": "hub"},
        one | {"id": "timm/a", "source": "timm"},
        one | {"id": "x/c", "source": "x", "same_weights_as": "timm/z"},
        two | {"id": "x/d", "source": "x"},
        one | {"id": "x/e", "source": "x", "archive_member": "m"},
    ]
    assert linked(some[:2]) == {"hub/b": "timm/a"}
    assert linked(some) == {"hub/b": "timm/z", "timm/a": "timm/z"}
    both = [one | {"id": "timm/m"}, one | {"id": "timm/n"}, two | {"id": "x/p", "same_weights_as": "timm/n", "integrity": "none"}]
    both = [record | {"source": record["id"].partition("/")[0]} for record in both]
    assert linked(both) == {"timm/m": "timm/n"}, "the one that others name already"
    both.append(both[2] | {"id": "x/q", "same_weights_as": "timm/m"})
    assert linked(both) == {"timm/n": "timm/m", "x/p": "timm/m"}, "two originals are equal: what names the one names the other"


def test_an_alias_finds_its_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = many(1)[0] | {"aliases": ["hub/old/name"]}
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "timm.jsonl").write_text(records.text_of([record]), encoding="utf-8")
    monkeypatch.setattr(catalog, "_files", lambda config: sorted((tmp_path / config).glob("*.jsonl")))
    assert catalog.entry("hub/old/name").id == "timm/m0"
