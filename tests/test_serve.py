"""A model behind the package's own protocol is the model: outputs, gradients, rows; and one file serves it anywhere."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from blackbox import CLASSES, Network, images

import securitynet
from securitynet import serve as serving
from securitynet.cache import ArrayCache
from securitynet.cli.serve import served_of
from securitynet.endpoint import Limits
from securitynet.endpoint._http import npy
from securitynet.endpoint.protocol import connect
from securitynet.errors import EndpointError, Skipped
from securitynet.inputs import Options, from_module, images_of
from securitynet.loaders import load_model

FACTS = {"input_size": [3, 6, 6], "num_classes": CLASSES}


@contextmanager
def running(gradients: bool = False) -> Iterator[str]:
    server = serving.server(served_of(from_module(Network(), FACTS), gradients), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_outputs_and_gradients_are_the_models(tmp_path: Path) -> None:
    network, pixels = Network(), torch.rand(70, 3, 6, 6)
    with running(gradients=True) as url:
        target = connect(url, Limits(batch=32)).target(ArrayCache(tmp_path))
        assert target.gives == "gradients"
        torch.testing.assert_close(target.module(pixels), network(pixels))
        found, expected = (one.requires_grad_() for one in (pixels.clone(), pixels.clone()))
        wrapped = torch.nn.Sequential(torch.nn.Hardtanh(0.1, 0.9), target.module)
        torch.nn.functional.cross_entropy(wrapped(found), torch.zeros(70, dtype=torch.long)).backward()
        plain = torch.nn.Sequential(torch.nn.Hardtanh(0.1, 0.9), network)
        torch.nn.functional.cross_entropy(plain(expected), torch.zeros(70, dtype=torch.long)).backward()
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6)
        assert target.meter.bill.images == 210, "70 outputs, 70 of other pixels, and 70 gradients"


def test_without_gradients_attacks_that_want_them_are_skipped() -> None:
    with running() as url:
        target = connect(url).target()
        assert target.gives == "outputs"
        with pytest.raises(Skipped, match="needs gradients"):
            target.module(torch.rand(1, 3, 6, 6, requires_grad=True))
        with pytest.raises(EndpointError, match="404"):
            connect(url).target().module.client.source.call.post(f"{url}/gradients", npy(np.zeros((1, 3))))  # type: ignore[union-attr]


def test_rows_are_those_of_the_module(tmp_path: Path) -> None:
    attacks = ["membership/loss", "membership/boundary"]
    expected = securitynet.evaluate(Network(), images(40), attacks, preprocessing=FACTS, cache_dir=tmp_path / "module")
    with running() as url:
        (tmp_path / "endpoint.toml").write_text(f'securitynet = "{url}"\n[limits]\nbatch = 200\n')
        found = securitynet.evaluate(tmp_path / "endpoint.toml", images(40), attacks, cache_dir=tmp_path / "kept")
    assert [row.value for row in found.rows] == pytest.approx([row.value for row in expected.rows], abs=1e-6)


def test_a_built_in_model_is_itself_through_the_command(tmp_path: Path) -> None:
    data = images_of(None, load_model("builtin/digits-regular"), Options(tmp_path))
    command = [sys.executable, "-c", "import sys; from securitynet.cli import main; main(sys.argv[1:])"]
    command += ["serve", "builtin/digits-regular", "--port", "0", "--offline"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        found = securitynet.evaluate(connect(url), data, attacks="membership/loss", samples=200, cache_dir=tmp_path / "kept")
    finally:
        process.terminate()
        process.wait()
    expected = securitynet.evaluate("builtin/digits-regular", data, attacks="membership/loss", samples=200, cache_dir=tmp_path / "module")
    assert [row.value for row in found.rows] == pytest.approx([row.value for row in expected.rows], abs=1e-5)
    assert found.rows[0].dataset == expected.rows[0].dataset and found.rows[0].manifest == expected.rows[0].manifest


def test_the_file_serves_where_nothing_else_is_installed(tmp_path: Path) -> None:
    """Copied alone beside numpy, by a Python that does not see the package."""
    source = Path(serving.__file__)
    names = {node.module for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.ImportFrom)}
    assert not any(str(name).startswith("securitynet") for name in names)
    shutil.copy(source, tmp_path / "serve.py")
    (tmp_path / "run.py").write_text("""
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import serve
server = serve.server(serve.Served("other/model", "3", (1, 2, 2), 2, lambda pixels: pixels.reshape(-1, 4)[:, :2] * 3), 0)
print(server.server_address[1], "torch" in sys.modules, flush=True)
server.serve_forever()
""")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "run.py", str(Path(np.__file__).parents[1])]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        port, torch_is_there = process.stdout.readline().split()
        assert torch_is_there == "False"
        made = connect(f"http://127.0.0.1:{port}")
        assert made.identity == "other/model@3"
        pixels = torch.rand(5, 1, 2, 2)
        torch.testing.assert_close(made.target().module(pixels), pixels.flatten(1)[:, :2] * 3)
        with pytest.raises(EndpointError, match="400"):
            made.target().module(torch.rand(5, 1, 3, 3))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert json.load(answer)["gradients"] is False
    finally:
        process.terminate()
        process.wait()


def test_what_is_no_such_server_is_named() -> None:
    with pytest.raises(EndpointError, match="does not say what it is"):
        connect("http://127.0.0.1:9")
