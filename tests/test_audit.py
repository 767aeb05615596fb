"""Audits as a user runs them: files that are hostile, repos of the Hub, saved results, the command and its exit codes."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from audited import ENTRY, backdoor, membership, saved, stealing, verify_rows
from hub import Hub
from report_rows import HOSTILE

import securitynet
from securitynet import catalog
from securitynet.audit import audit
from securitynet.cli import main
from securitynet.download import Files
from securitynet.errors import DownloadError, UsageError
from securitynet.report.audit import audit_of
from securitynet.report.audit.contents import Contents, File, read_file
from securitynet.report.audit.inspect import inspect
from securitynet.report.audit.pickles import DANGEROUS, UNLISTED, Import, scan

BUILTIN = Path(str(catalog.__file__)).parent / "builtin"
FEW = ["membership/loss", "membership/modified_entropy"]


class Runs:
    """A pickle that would run a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/was-run",)


class Unknown:
    """A class that is on no list."""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "cache", offline=True, progress=False)


def test_what_pickles_import(tmp_path: Path) -> None:
    """In PyTorch's two formats, as a plain pickle, inside an archive, and behind an archive's end."""
    state = {"weight": torch.zeros(2)}
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.th", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.th"):
        found = read_file(tmp_path / name, name, weights=True)
        assert found.format == "PyTorch (pickle)" and found.trouble is None and found.sha256
        assert found.imports and not {one.kind for one in found.imports} & {DANGEROUS, UNLISTED}
    for protocol in (0, 2, 4):
        (tmp_path / "run.pkl").write_bytes(pickle.dumps(Runs(), protocol))
        assert [one.kind for one in scan(tmp_path / "run.pkl").imports] == [DANGEROUS]
    torch.save({"weight": torch.zeros(2), "more": Runs()}, tmp_path / "run.bin")
    assert DANGEROUS in {one.kind for one in scan(tmp_path / "run.bin").imports}
    with zipfile.ZipFile(tmp_path / "two.pkl", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    both = pickle.dumps(Runs()) + (tmp_path / "two.pkl").read_bytes()
    (tmp_path / "two.pkl").write_bytes(both)
    assert DANGEROUS in {one.kind for one in scan(tmp_path / "two.pkl").imports}
    (tmp_path / "own.pkl").write_bytes(b"\x80\x04\x8c\x03own\x8c\x05Thing\x93)R.")
    assert scan(tmp_path / "own.pkl").imports == (Import("own.Thing", UNLISTED),)
    (tmp_path / "cut.pkl").write_bytes(b"PK\x03\x04 cut")
    assert scan(tmp_path / "cut.pkl").trouble
    assert not Path("/tmp/was-run").exists()


def test_files_of_a_built_in_model_a_folder_and_a_file(files: Files, tmp_path: Path) -> None:
    found = inspect("builtin/digits-regular", None, files)
    entry = catalog.entry("builtin/digits-regular")
    assert found.weights[0].sha256 == entry.weights_hash == found.recorded and not found.differs and found.licence == entry.licence
    folder = inspect(BUILTIN / "digits-regular", None, files)
    assert folder.weights[0].sha256 == entry.weights_hash and folder.licence == "apache-2.0" and not folder.executable
    one = inspect(BUILTIN / "digits-regular" / "model.safetensors", None, files)
    assert [file.format for file in one.files] == ["safetensors"]
    other = inspect(BUILTIN / "digits-overfit" / "model.safetensors", entry, files)
    assert other.differs, "not the file that the entry records"
    with pytest.raises(UsageError, match="unknown model"):
        inspect("builtin/no-such", None, files)


def test_a_repo_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    """Its weights are safe; beside them lie a pickle that runs a command, code, and a config that asks for it."""
    from huggingface_hub import HfApi

    api, repo = HfApi(), "tester/audited"
    api.create_repo(repo, exist_ok=True)
    commit = api.upload_folder(repo_id=repo, folder_path=BUILTIN / "digits-regular").oid
    files = Files(tmp_path, progress=False)
    clean = inspect(f"hf-hub:{repo}", None, files)
    assert clean.commit == commit and clean.pin == f"commit {commit}" and not clean.executable and clean.licence == "apache-2.0"
    api.upload_file(path_or_fileobj=pickle.dumps(Runs()), path_in_repo="extra.pkl", repo_id=repo)
    api.upload_file(path_or_fileobj=b"print('own')", path_in_repo="modeling.py", repo_id=repo)
    config = {"auto_map": {"AutoModel": "modeling.Own"}}
    api.upload_file(path_or_fileobj=json.dumps(config).encode(), path_in_repo="config.json", repo_id=repo)
    bad = inspect(f"hf-hub:{repo}", None, files)
    assert bad.dangerous and bad.code == ("modeling.py",) and bad.needs_code == ("config.json: modeling.Own",)
    assert bad.imported(DANGEROUS)[0][0] == "extra.pkl" and bad.commit != commit
    pinned = inspect(f"hf-hub:{repo}@{commit}", None, files)
    assert pinned.commit == commit and not pinned.dangerous
    with pytest.raises(DownloadError, match="no such repo"):
        inspect("hf-hub:tester/no-such", None, files)
    assert not Path("/tmp/was-run").exists()


def test_a_repo_of_the_hub_from_end_to_end(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The decision on a repo, and that on the same repo once it needs code: then the report is on its files, and nothing is loaded."""
    from huggingface_hub import HfApi

    api, repo = HfApi(), "tester/admitted"
    api.create_repo(repo, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=BUILTIN / "digits-regular")
    page = tmp_path / "audit.html"
    arguments = ["audit", f"hf-hub:{repo}", "--attacks", *FEW, "--cache-dir", str(tmp_path / "cache"), "--json"]
    assert main([*arguments, "--output", str(page), "--fail-on", "high"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["decision"] == "Review before use" and one["risks"]["files"]["severity"] == one["risks"]["verify"]["severity"] == "low"
    assert one["files"]["commit"] in one["risks"]["files"]["reason"] and one["risks"]["backdoor"]["severity"] == "not looked at"
    assert "Review before use" in page.read_text(encoding="utf-8")
    assert main([*arguments, "--fail-on", "not-known"]) == 4
    api.upload_file(path_or_fileobj=b'{"model_type": "own", "auto_map": {"AutoModel": "m.Own"}}', path_in_repo="config.json", repo_id=repo)
    capsys.readouterr()
    assert main([*arguments, "--fail-on", "high"]) == 4
    two = json.loads(capsys.readouterr().out)
    assert two["decision"] == "Do not admit" and two["risks"]["files"]["severity"] == "high" and "code of its own" in two["failure"]
    assert two["risks"]["membership"]["severity"] == "not looked at" and two["advice"][0]["risk"] == "files"


def test_result_and_its_folder_say_the_same(tmp_path: Path) -> None:
    result = securitynet.evaluate("builtin/digits-overfit", attacks=FEW)
    one = result.audit()
    assert one.severity("membership") == "medium" and one.severity("verify") == "low" and one.severity("files") == "low"
    two = audit(result.save(tmp_path / "saved"))
    kept = [audit_.to_json() | {"date": ""} for audit_ in (one, two)]
    assert kept[0] == kept[1]
    assert one.places.reason == "no measurements of other models on digits are published"


def test_a_model_that_is_not_what_its_entry_says_ends_with_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["audit", "builtin/digits-permuted", "--attacks", "membership/loss", "--cache-dir", str(tmp_path), "--fail-on", "high"]) == 3
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "Do not admit" in said and "high: verify" in said
    assert main(["audit", "builtin/digits-regular", "--output", "audit.pdf"]) == 2


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    """In the page, in Markdown, on the terminal: names of files, of imports, of models, reasons and licences."""
    entry = replace(ENTRY, id=HOSTILE, architecture=HOSTILE)
    rows = [*verify_rows(HOSTILE), *(replace(row, reason=HOSTILE, attack=HOSTILE) for row in membership(300, 1.0, scores=False)[0])]
    hostile = File(HOSTILE, 1, "pickle", "0" * 64, (Import(HOSTILE, DANGEROUS),), HOSTILE, weights=True)
    contents = Contents(HOSTILE, (hostile,), HOSTILE, HOSTILE, HOSTILE, needs_code=(HOSTILE,), notes=(HOSTILE,), pin=HOSTILE)
    one = audit_of(saved(tmp_path, rows, entry=entry), contents, failure=HOSTILE)
    page, text = one.to_html(), one.to_markdown()
    assert "</script><script>" not in page and "<img src=x" not in page and page.count("<script>") == 1
    assert "<script>" not in text and "<img" not in text
    json.dumps(one.to_json())


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    rows = [*verify_rows(), *membership(2000, 2.0, scores=False)[0], *stealing(5000, 0.9, 0.8), *backdoor(0.004)]
    one = audit_of(saved(tmp_path, rows), Contents("here", pin="commit"))
    record, text, page = one.to_json(), one.to_markdown(), one.to_html()
    for name, risk in record["risks"].items():
        assert f"{name}: {risk['severity']}" in text and f"{name}: {risk['severity']}" in page
    for words in (record["decision"], record["advice"][0]["text"], *(line["when"] for line in record["severities"])):
        plain = words.replace("'", "&#39;")
        assert plain in page and words.split("(")[0].split(":")[0] in text
    assert [one.save(tmp_path / f"audit{suffix}").suffix for suffix in (".html", ".md", ".json")] == [".html", ".md", ".json"]
