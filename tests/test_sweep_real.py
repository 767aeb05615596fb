"""A sweep over real public models behind a server of this machine: the numbers are those of evaluate()."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweeping import SECURITYNET, finish, table
from web import serve

import securitynet
from securitynet.loaders import load_model

FILES = {
    "akamaster/resnet20": "akamaster_cifar10/resnet20-12fca82f.th",
    "ibau/badnets_8_02": "ibau_backdoored/badnets_8_02_ckpt.pth",
    "ibau/trojan_wm_2_02": "ibau_backdoored/trojan_wm_2_02_ckpt.pth",
    "badnets-pytorch/mnist": "badnets_pytorch/badnet-MNIST.pth",
    "outlier-exposure/mnist": "mnist/outlier_exposure_baseline_epoch_9.pt",
}
DATA = {"CIFAR-10": "cifar10_lossless_4k_train_1k_test.npz", "MNIST": "mnist_16k_train_10k_test.npz"}


def test_real_models(real: Path, tmp_path: Path) -> None:
    images = {key: real / "datasets" / name for key, name in DATA.items()}
    with serve() as web:
        lines = []
        for entry, file in FILES.items():
            body = (real / "models" / file).read_bytes()
            wrong = {"hash_algorithm": "sha256", "weights_hash": "0" * 64} if entry == "ibau/trojan_wm_2_02" else {}
            lines.append(json.dumps({"id": entry, "hub_id": None, "weights_url": web.put(f"/{file}", body), **wrong}) + "\n")
        (tmp_path / "models.jsonl").write_text("".join(lines), encoding="utf-8")
        given = [option for key, path in images.items() for option in ("--data", f"{key}={path}")]
        place = ["--output", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache"), "--samples", "100"]
        command = [*SECURITYNET, "sweep", "--ids-from", str(tmp_path / "models.jsonl"), *given, *place, "--attacks", "membership/loss"]
        code, found, errors = finish(command)
    assert code == 1 and found["settled"] == 5 and found["failed"] == 1, errors
    assert [(one["entry"], "wrong hash" in one["reason"]) for one in found["failures"]] == [("ibau/trojan_wm_2_02", True)]
    rows = {(row["entry"], row["attack"], row["metric"], row["params"]): row for row in table(tmp_path / "out").values()}
    for entry in ("akamaster/resnet20", "outlier-exposure/mnist"):
        target = load_model(real / "models" / FILES[entry], cache_dir=tmp_path)
        result = securitynet.evaluate(
            target, images[target.entry.dataset or ""], "membership/loss", samples=100, cache_dir=tmp_path / "other"
        )
        for row in result.rows:
            if row.value is not None:
                assert rows[entry, row.attack, row.metric, row.params]["value"] == pytest.approx(row.value, abs=1e-12)
