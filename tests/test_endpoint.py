"""Endpoints as targets: rows equal to the module's, calls exact, failures cheap, clients never mixed."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from blackbox import CLASSES, NAMES, SIDE, Network, images, probabilities, served

import securitynet
from securitynet import store as stores
from securitynet.attacks.backdoor.strip import Strip
from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.attacks.stealing.uncertainty import Uncertainty
from securitynet.cache import ArrayCache
from securitynet.defences import named
from securitynet.endpoint import Endpoint, Http, Limits, Table
from securitynet.endpoint._forms import Classes, logits_of
from securitynet.entry import Entry
from securitynet.errors import BudgetSpent, EndpointError, UsageError
from securitynet.results.result import Result
from securitynet.target import query
from securitynet.training import Recipe

SHAPE = (3, SIDE, SIDE)
DATA = images()
SCORES = ["membership/loss", "membership/entropy", "membership/modified_entropy", "membership/augmentation"]
QUICK = Settings(recipe=Recipe(epochs=1, batch_size=32), least_steps=5, transfer=None)
KNOCKOFF = Knockoff(budgets=(20, 60), settings=QUICK)


def endpoint(source: Any = probabilities, **settings: Any) -> Endpoint:
    return Endpoint(source, **{"input_size": SHAPE, "classes": CLASSES, "name": "test/service", "version": "1", **settings})


def evaluated(model: Any, place: Path, attacks: Any = tuple(SCORES), **options: Any) -> Result:
    return securitynet.evaluate(model, DATA, list(attacks), cache_dir=place, **options)


def module_rows(place: Path, attacks: Any = tuple(SCORES)) -> Result:
    return evaluated(Network(), place, attacks, preprocessing={"input_size": SHAPE, "num_classes": CLASSES})


def same(one: Result, other: Result, tolerance: float = 1e-6) -> None:
    assert [(row.attack, row.metric, row.budget, row.status) for row in one.rows] == [
        (row.attack, row.metric, row.budget, row.status) for row in other.rows
    ]
    for row, its in zip(one.rows, other.rows, strict=True):
        assert row.value == pytest.approx(its.value, abs=tolerance), (row.attack, row.metric)
        assert (row.n, row.queries) == (its.n, its.queries)


def test_rows_are_those_of_the_module_and_calls_are_exact(tmp_path: Path) -> None:
    expected = module_rows(tmp_path / "module")
    with served() as service:
        found = evaluated(endpoint(service.url), tmp_path / "kept")
        same(expected, found)
        assert max(service.seen.values()) == 1, "no image twice"
        assert service.images == found.bill.images == 240 * 9 - 0 and found.bill.blanks == 0
        assert service.requests == found.bill.requests
        again = evaluated(endpoint(service.url), tmp_path / "kept")
        same(found, again)
        assert service.images == found.bill.images and again.bill == found.bill
        more = evaluated(endpoint(service.url), tmp_path / "kept", [KNOCKOFF, Uncertainty(budgets=(20, 60), settings=QUICK)])
        assert service.images == found.bill.images, "stealing asks about training images, which are known"
        assert {row.queries for row in more.rows if row.family == "stealing"} == {60}
    row = found.rows[-1]
    assert (row.entry, row.weights_sha256) == ("endpoint/test/service@1", None)


@pytest.mark.parametrize("kind", ["function", "floats", "table", "tensor", "logits"])
def test_sources_give_the_rows_of_the_module(tmp_path: Path, kind: str) -> None:
    both = np.concatenate([part.pixels for part in (DATA.train, DATA.test)])  # type: ignore[union-attr]
    network = Network()

    @torch.no_grad()
    def floats(pixels: np.ndarray) -> Any:
        return network(torch.from_numpy(pixels)).softmax(1)

    @torch.no_grad()
    def logits(pixels: np.ndarray) -> Any:
        return network(torch.from_numpy(pixels)).numpy()

    made = {
        "function": lambda: endpoint(),
        "floats": lambda: endpoint(floats, images="float"),
        "table": lambda: endpoint(Table(both, probabilities(both)), name=None, version=None),
        "tensor": lambda: endpoint(lambda batch: torch.from_numpy(probabilities(batch))),
        "logits": lambda: endpoint(logits, images="float", answers="logits"),
    }[kind]()
    attacks = SCORES[:3]
    same(module_rows(tmp_path / "module", attacks), evaluated(made, tmp_path / "kept", attacks))


def test_label_only_attacks_by_floats_are_those_of_the_module(tmp_path: Path) -> None:
    from securitynet.attacks.membership.boundary import Boundary
    from securitynet.attacks.membership.noise import Noise

    @torch.no_grad()
    def floats(pixels: np.ndarray) -> Any:
        return Network()(torch.from_numpy(pixels)).softmax(1)

    attacks = [Noise((0.1,), 2), Boundary(images=20, iterations=1, directions=8)]
    same(module_rows(tmp_path / "module", attacks), evaluated(endpoint(floats, images="float"), tmp_path / "kept", attacks))


@pytest.mark.parametrize(("form", "settings"), [
    ("labels", {}), ("names", {"classes": NAMES}), ("top", {"classes": NAMES}), ("rounded3", {}), ("rounded1", {}),
])  # fmt: skip
def test_what_endpoints_return(tmp_path: Path, form: str, settings: dict[str, Any]) -> None:
    defence = {"labels": "label-only", "names": "label-only", "top": "top-k:2", "rounded3": "rounding:3", "rounded1": "rounding:1"}[form]
    columns = {"input_size": SHAPE, "num_classes": CLASSES}
    expected = evaluated(Network(), tmp_path / "module", SCORES[:3], preprocessing=columns, defences=[named(defence)])
    with served(form=form) as service:
        source = Http(service.url, answer="outputs.0.scores") if form.startswith("rounded") else service.url
        found = evaluated(endpoint(source, **settings), tmp_path / "kept", SCORES[:3])
    for row, its in zip(expected.rows, found.rows, strict=True):
        assert row.value == pytest.approx(its.value, abs={"rounded1": 0.02, "rounded3": 1e-3}.get(form, 1e-6)), (row.attack, row.metric)


def test_what_needs_more_than_outputs_is_skipped_and_nothing_is_sent_for_it(tmp_path: Path) -> None:
    np.save(tmp_path / "suspects.npy", DATA.test.pixels[:3])  # type: ignore[union-attr]
    with served() as service:
        attacks = ["backdoor/neural_cleanse", "backdoor/strip", "backdoor/activation_clustering"]
        found = evaluated(endpoint(service.url), tmp_path, attacks)
        reasons = {row.attack: (row.status, row.reason) for row in found.rows if row.family == "backdoor"}
        assert set(reasons) == set(attacks) and {status for status, _ in reasons.values()} == {"skipped"}
        assert all("needs" in str(reason) for _, reason in reasons.values())
        assert service.images == 240
        judged = evaluated(endpoint(service.url), tmp_path, [Strip(suspects=str(tmp_path / "suspects.npy"))])
        assert [row.status for row in judged.rows if row.family == "backdoor" and row.metric == "p_value"] == ["ok"]


def test_no_probes_and_no_blanks_where_the_claim_is_wrong(tmp_path: Path) -> None:
    with served() as service:
        made = endpoint(service.url, preparation={"claimed_accuracy": 0.999})
        found = evaluated(made, tmp_path, SCORES[:1])
        assert found.verdict.status == "suspect" and service.images == 240


@pytest.mark.parametrize(("settings", "refused"), [({"fails": (2, 3)}, 2), ({"per_second": 1, "retry_after": "0.2"}, None)])
def test_a_busy_endpoint_is_asked_again(tmp_path: Path, settings: dict[str, Any], refused: int | None) -> None:
    with served(retry_after="0", **{key: value for key, value in settings.items() if key != "retry_after"}) as service:
        limits = Limits(batch=100, retries=30)
        found = evaluated(endpoint(service.url, limits=limits), tmp_path, SCORES[:1])
        assert service.images == found.bill.images == 240 and max(service.seen.values()) == 1
        assert service.requests == found.bill.requests == 4 + service.refused
        assert service.refused == refused or refused is None


def test_retry_after_is_kept_to(tmp_path: Path) -> None:
    with served(fails=(1,), retry_after="1") as service:
        start = time.monotonic()
        evaluated(endpoint(service.url), tmp_path, SCORES[:1])
        assert time.monotonic() - start >= 1
    with served(fails=(1,), retry_after="9999") as service, pytest.raises(EndpointError, match="503"):
        evaluated(endpoint(service.url), tmp_path / "other", SCORES[:1])


def test_a_failure_costs_its_request_and_no_more(tmp_path: Path) -> None:
    with served(fails=(3,), status=500) as service:
        limits = Limits(batch=40)
        with pytest.raises(EndpointError, match="500"):
            evaluated(endpoint(service.url, limits=limits), tmp_path, SCORES[:1])
        assert service.images == 80
        found = evaluated(endpoint(service.url, limits=limits), tmp_path, SCORES[:1])
        assert service.images == 240 and max(service.seen.values()) == 1
        assert found.bill.requests == service.requests == 7


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with served(fails=(1,), status=302) as service, pytest.raises(EndpointError, match="moved to http://127"):
        evaluated(endpoint(service.url), tmp_path, SCORES[:1])


def test_budgets_in_queries_and_money(tmp_path: Path) -> None:
    with served() as service:
        for limits in (Limits(queries=239), Limits(money=0.239, price=0.001)):
            with pytest.raises(BudgetSpent, match="left"):
                evaluated(endpoint(service.url, limits=limits), tmp_path / str(limits.queries), SCORES[:1])
        assert service.images <= 240, "what fits is sent split by split, never more"
        limits = Limits(queries=240, money=1.0, price=0.001)
        found = evaluated(endpoint(service.url, limits=limits), tmp_path / "enough", [*SCORES[:1], "membership/augmentation"])
        assert found.bill.images == 240 and found.bill.money == pytest.approx(0.24)
        (skipped,) = (row for row in found.rows if row.attack == "membership/augmentation")
        assert skipped.status == "skipped" and "budget" in str(skipped.reason)
        more = evaluated(endpoint(service.url), tmp_path / "enough", [*SCORES[:1], "membership/augmentation"])
        assert {row.status for row in more.rows if row.attack == "membership/augmentation"} >= {"ok"}, "a larger budget is another day"


def test_a_full_disk_ends_no_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = module_rows(tmp_path / "module")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stores, "_write", full)
    monkeypatch.setattr("securitynet.results.store.store.Store.add", full)
    with served() as service:
        found = evaluated(endpoint(service.url), tmp_path / "kept")
        assert max(service.seen.values()) == 1 and service.images == found.bill.images
    same(expected, found)


class Client:
    """Two of one class differ in what they hold only."""

    def __init__(self, seed: int) -> None:
        self.seed, self.calls = seed, 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.calls += len(batch)
        return probabilities(batch, self.seed)

    def ask(self, batch: np.ndarray) -> np.ndarray:
        return self(batch)


CLIENTS: dict[str, Callable[[int], Any]] = {
    "object": Client,
    "bound method": lambda seed: Client(seed).ask,
    "partial": lambda seed: functools.partial(probabilities, seed=seed),
    "closure": lambda seed: lambda batch: probabilities(batch, seed),
    "default": lambda seed: lambda batch, seed=seed: probabilities(batch, seed),
}


@pytest.mark.parametrize("declared", ["nothing", "name", "both"])
@pytest.mark.parametrize("kind", CLIENTS)
def test_two_clients_are_never_mixed(tmp_path: Path, kind: str, declared: str) -> None:
    def made(seed: int) -> Endpoint:
        name = None if declared == "nothing" else "test/client"
        return endpoint(CLIENTS[kind](seed), name=name, version=str(seed) if declared == "both" else None)

    first, second = (evaluated(made(seed), tmp_path, SCORES[:1]) for seed in (0, 1))
    accuracies = [result.value("verify", "test_accuracy") for result in (first, second)]
    expected = [(probabilities(DATA.test.pixels, seed).argmax(1) == DATA.test.labels).mean() for seed in (0, 1)]  # type: ignore[union-attr]
    assert accuracies == pytest.approx(expected)
    assert first.rows[0].entry != second.rows[0].entry


def test_what_is_not_identified_is_sent_again_and_what_is_declared_is_not(tmp_path: Path) -> None:
    client = Client(0)
    for _ in range(2):
        evaluated(endpoint(client, version=None), tmp_path, SCORES[:1])
    assert client.calls == 480
    for _ in range(2):
        evaluated(endpoint(client), tmp_path, SCORES[:1])
    assert client.calls == 720


def test_a_defence_in_front_of_an_endpoint_sends_nothing_new(tmp_path: Path) -> None:
    client = Client(0)
    evaluated(endpoint(client), tmp_path, SCORES[:1])
    found = evaluated(endpoint(client), tmp_path, SCORES[:1], defences=["rounding:1"])
    assert client.calls == 240 and found.rows[0].entry == "endpoint/test/service@1+rounding:1"


def test_fresh_draws_are_sent_and_billed() -> None:
    client = Client(0)
    target = endpoint(client).target()
    splits = Entry(id="x", input_size=SHAPE), DATA.test
    from securitynet.data import Split
    from securitynet.data.transform import Transform

    part = Split("test", splits[1], np.arange(10), np.zeros(10, np.int64), Transform(SHAPE))  # type: ignore[arg-type]
    accelerator = Accelerator(cpu=True)
    for draw in (0, 1, 0, 1, 2):
        query(target.drawn(draw), part, accelerator)
    assert client.calls == 30 == target.meter.bill.images
    wrapped = target.wrap(lambda module: torch.nn.Sequential(torch.nn.Identity(), module))
    query(wrapped.drawn(2), part, accelerator)
    query(wrapped.drawn(3), part, accelerator)
    assert client.calls == 40


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_endpoint as here
from securitynet.endpoint import Limits
limits = here.Limits(batch=10)
result = here.evaluated(here.endpoint(sys.argv[2], limits=limits), here.Path(sys.argv[3]), here.SCORES[:1])
print(result.value("verify", "test_accuracy"), result.bill.images)
"""


def process(url: str, place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), url, str(place)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_and_doubled_processes(tmp_path: Path) -> None:
    with served(seconds=0.1) as service:
        first = process(service.url, tmp_path / "one")
        for _ in range(1200):
            if service.images >= 70:
                break
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = service.images
        assert before < 200
        second = process(service.url, tmp_path / "one")
        assert second.wait(120) == 0
        assert len(service.seen) == 240 and service.images <= 250, "one batch at most is sent twice"
        assert second.stdout is not None and int(second.stdout.read().split()[1]) in (service.images, service.images + 10)
    with served(seconds=0.05) as service:
        both = [process(service.url, tmp_path / "two") for _ in range(2)]
        assert [one.wait(120) for one in both] == [0, 0]
        assert service.images == 240 and max(service.seen.values()) == 1


def test_headers_are_sent_and_not_shown(tmp_path: Path) -> None:
    with served() as service:
        source = Http(service.url, headers={"Authorization": "Bearer secret"})
        found = evaluated(endpoint(source), tmp_path, SCORES[:1])
        assert all(one["Authorization"] == "Bearer secret" for one in service.headers)
        assert "secret" not in repr(source) and "secret" not in str(found.to_json())


def test_pictures_one_by_one(tmp_path: Path) -> None:
    with served() as service:
        found = evaluated(endpoint(Http(service.url, body="png")), tmp_path, SCORES[:1], samples=20)
        assert service.images == service.requests == found.bill.images


def test_a_file_that_describes_an_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from securitynet.cli import main

    np.savez(tmp_path / "data.npz", x_train=DATA.train.pixels, y_train=DATA.train.labels, x_test=DATA.test.pixels, y_test=DATA.test.labels)  # type: ignore[union-attr]
    monkeypatch.setenv("SERVICE_KEY", "hush")
    with served() as service:
        (tmp_path / "endpoint.toml").write_text(f"""
url = "{service.url}"
name = "test/service"
version = "1"
input_size = [3, {SIDE}, {SIDE}]
classes = {CLASSES}
headers = {{ Authorization = "Bearer ${{SERVICE_KEY}}" }}
[limits]
batch = 50
price = 0.5
money = 1000.0
""")
        command = ["evaluate", str(tmp_path / "endpoint.toml"), "--data", str(tmp_path / "data.npz"), "--cache-dir", str(tmp_path / "kept")]
        assert main([*command, "--attacks", "membership/loss"]) == 0
        assert "240 images" in capsys.readouterr().out
        assert service.headers[0]["Authorization"] == "Bearer hush" and service.images == 240
    for text, error in (("nonsense = 1", "nonsense"), ("url = 3\nurl = 4", "endpoint.toml"), ("input_size = [1, 2, 3]", "needs one of")):
        (tmp_path / "endpoint.toml").write_text(text)
        assert main(command) == 2
        assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "form", "message"),
    [
        ([[0.5, 0.6, 3.0]], None, "no probabilities"),
        ([[0.5, 0.5]], None, "1x2 numbers"),
        ([0, 1], None, "2 outputs for 1"),
        (["fox"], "labels", "'fox'; known: ant, bee, cat"),
        ({"scores": [[1, 0, 0]]}, None, "keys scores"),
        (3, None, "int"),
        ([[{"label": "ant", "score": 0.5}, {"label": "owl", "score": 0.5}]], None, "'owl'"),
        ([["a", "b", "c"]], None, "no numbers"),
    ],
)
def test_answers_that_cannot_be_understood(answer: Any, form: str | None, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        logits_of(answer, Classes.of(("ant", "bee", "cat")), form, 1)


def test_forms_of_answers() -> None:
    classes = Classes.of(("ant", "bee", "cat"))
    for answer in (
        [[0.7, 0.2, 0.1]],
        {"probabilities": [[0.7, 0.2, 0.1]]},
        [[{"label": "ant", "score": 0.7}, {"label": "cat", "score": 0.1}, {"label": "bee", "score": 0.2}]],
        [{"label": "ant", "score": 0.7}, {"label": "cat", "score": 0.1}, {"label": "bee", "score": 0.2}],
        [{"ant": 0.7, "bee": 0.2}],
        {"log_probabilities": np.log([[0.7, 0.2, 0.1]])},
    ):
        np.testing.assert_allclose(np.exp(logits_of(answer, classes, None, 1)), [[0.7, 0.2, 0.1]], rtol=1e-5)
    for answer in ([0], ["ant"], {"labels": [0]}, np.array([0])):
        assert logits_of(answer, classes, None, 1).argmax() == 0
    assert np.allclose(np.exp(logits_of([[0.0, 0.0, 0.0]], classes, None, 1)), 1 / 3), "rounding left nothing"


def test_settings_that_do_not_go_together() -> None:
    for settings in ({"input_size": ()}, {"images": "jpeg"}, {"answers": "words"}, {"classes": None}, {"name": "a b"}, {"source": 3}):
        with pytest.raises(UsageError):
            endpoint(settings.pop("source", probabilities), **settings).target()
    for limits in ({"batch": 0}, {"money": 1.0}, {"per_second": 0}):
        with pytest.raises(UsageError):
            Limits(**limits)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="address"):
        Http("ftp://somewhere")


def test_an_error_of_ones_own_code_names_it(tmp_path: Path) -> None:
    def broken(batch: np.ndarray) -> Any:
        raise KeyError("scores")

    with pytest.raises(EndpointError, match="broken: KeyError: 'scores'"):
        evaluated(endpoint(broken), tmp_path, SCORES[:1])


def test_estimators_and_pipelines_made_by_their_libraries(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    pixels, labels = DATA.train.pixels, DATA.train.labels  # type: ignore[union-attr]
    rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1) / 255
    fitted = LogisticRegression(max_iter=50).fit(rows, labels)
    found = evaluated(endpoint(fitted, name=None, version=None, classes=CLASSES), tmp_path, SCORES[:1])
    assert found.value("verify", "train_accuracy") == pytest.approx(fitted.score(rows, labels))
    worded = LogisticRegression(max_iter=50).fit(rows, [NAMES[one] for one in labels])
    made = Endpoint(worded, input_size=SHAPE)
    assert evaluated(made, tmp_path, SCORES[:1]).value("verify", "train_accuracy") == pytest.approx(fitted.score(rows, labels), abs=0.02)
    assert made.identity is not None and made.identity == Endpoint(worded, input_size=SHAPE).identity


def test_a_pipeline_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16, num_labels=CLASSES
    )
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor, device=-1)
    target = Endpoint(pipeline, input_size=SHAPE, name="test/vit", version="1").target(ArrayCache(tmp_path))
    batch = torch.from_numpy(DATA.test.pixels[:5]).permute(0, 3, 1, 2).float() / 255  # type: ignore[union-attr]
    with torch.no_grad():
        inputs = processor(list(DATA.test.pixels[:5]), return_tensors="pt")  # type: ignore[union-attr]
        expected = model(**inputs).logits.log_softmax(1)
        torch.testing.assert_close(target.module(batch), expected, rtol=1e-4, atol=1e-4)
    assert replace(target).num_classes == CLASSES


def onnx_file(path: Path, seed: int, batch: int | str = "n") -> Path:
    """The network as an ONNX file: images [n, c, h, w] in [-0.5, 0.5] to logits."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weight = Network(seed).inner.weight.detach().numpy().T.copy()
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Flatten", ["x"], ["flat"], axis=1), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    tensor = helper.make_tensor("w", kind, weight.shape, weight.tobytes(), raw=True)
    taken, given = (
        helper.make_tensor_value_info("x", kind, [batch, *SHAPE]),
        helper.make_tensor_value_info("logits", kind, [batch, CLASSES]),
    )
    graph = helper.make_graph(nodes, "network", [taken], [given], [tensor])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_onnx_sessions_are_the_module_and_never_mixed(tmp_path: Path) -> None:
    files = [onnx_file(tmp_path / f"model-{seed}.onnx", seed) for seed in (0, 1)]
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in files]
    nameless = [onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"]) for path in files]
    expected = module_rows(tmp_path / "module", SCORES[:3])
    for sources in (sessions, nameless, list(map(str, files))):
        made = [Endpoint(one, SHAPE, CLASSES, preparation={"mean": [0.5], "std": [1.0]}) for one in sources]
        assert made[0].identity is not None and made[0].identity != made[1].identity
        found = [evaluated(one, tmp_path / "kept", SCORES[:3]) for one in made]
        same(expected, found[0], 1e-5)
        assert found[0].value("verify", "test_accuracy") != found[1].value("verify", "test_accuracy")
        assert found[0].bill.images == 240


def test_a_session_of_one_batch_size_is_filled_and_the_blanks_are_counted(tmp_path: Path) -> None:
    made = Endpoint(str(onnx_file(tmp_path / "model.onnx", 0, 50)), SHAPE, CLASSES, preparation={"mean": [0.5], "std": [1.0]})
    found = evaluated(made, tmp_path / "kept", SCORES[:1])
    assert (found.bill.images, found.bill.blanks) == (300, 60)
    same(module_rows(tmp_path / "module", SCORES[:1]), found, 1e-5)
