"""Two models are the same only if nothing that decides their answers differs."""

from __future__ import annotations

import functools
import importlib
import socket
import sys
import threading
import types
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from securitynet.cache import ArrayCache
from securitynet.fingerprint import fingerprint, identity, state_sha256
from securitynet.inputs import from_module


class Wrapper(nn.Module):
    """A defence whose strength is a plain attribute: neither its print nor its tensors show it."""

    def __init__(self, digits: Any) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        nn.init.ones_(self.inner.weight)
        nn.init.zeros_(self.inner.bias)
        self.digits = digits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (2, 3),
        (0.1, 0.2),
        ("a", "b"),
        ((1, 2), (2, 1)),
        ({"t": 1}, {"t": 2}),
        (torch.zeros(2), torch.ones(2)),
        (lambda x: x + 1, lambda x: x + 2),
    ],
)
def test_a_plain_attribute_makes_another_model(one: Any, other: Any) -> None:
    assert repr(Wrapper(one)) == repr(Wrapper(other)) and state_sha256(Wrapper(one)) == state_sha256(Wrapper(other))
    assert fingerprint(Wrapper(one)) != fingerprint(Wrapper(other))
    assert fingerprint(nn.Sequential(Wrapper(one))) != fingerprint(nn.Sequential(Wrapper(other)))


def test_equal_models_are_equal_in_train_or_eval_mode_and_after_answering() -> None:
    model = Wrapper(2)
    before = fingerprint(model)
    model.eval()(torch.rand(3, 2))
    handle = model.register_forward_hook(lambda *_: None)
    assert fingerprint(model) == before == fingerprint(Wrapper(2))
    handle.remove()


def test_weights_types_and_structure_count() -> None:
    model, moved = nn.Linear(2, 2), nn.Linear(2, 2)
    moved.load_state_dict(model.state_dict())
    assert fingerprint(model) == fingerprint(moved)
    with torch.no_grad():
        moved.bias += 1e-6
    assert fingerprint(model) != fingerprint(moved)
    assert state_sha256(nn.Linear(2, 2).half()) != state_sha256(nn.Linear(2, 2))
    assert fingerprint(nn.Sequential(model, nn.ReLU())) != fingerprint(nn.Sequential(model, nn.ELU()))


FACTOR, TABLE = 2.0, np.arange(4.0)


def scaled(x: torch.Tensor) -> torch.Tensor:
    """A function that reads a global."""
    return x * FACTOR


def looked_up(x: torch.Tensor) -> torch.Tensor:
    """A function that calls another, which reads an array."""
    return _looked_up(x)


def _looked_up(x: torch.Tensor) -> torch.Tensor:
    return x + float(TABLE.sum())


def closure(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x * factor


class Client:
    """An object with state."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        return x * self._factor


class Slotted:
    """An object whose state is in slots."""

    __slots__ = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = factor


PAIRS: dict[str, Callable[[float], Any]] = {
    "closure": closure,
    "nested closure": lambda factor: closure(closure(factor)),  # type: ignore[arg-type]
    "default": lambda factor: eval(f"lambda x, factor={factor}: x * factor"),
    "keyword default": lambda factor: eval(f"lambda x, *, factor={factor}: x * factor"),
    "constant": lambda factor: eval(f"lambda x: x * {factor}"),
    "partial": lambda factor: functools.partial(torch.mul, other=factor),
    "partial of a closure": lambda factor: functools.partial(closure(factor), x=1),
    "bound method": lambda factor: Client(factor).answer,
    "object": Client,
    "object with slots": Slotted,
    "object in a dict in a list": lambda factor: [{"client": SimpleNamespace(inner=Client(factor))}],
    "array in a closure": lambda factor: closure(np.full(3, factor)),  # type: ignore[arg-type]
    "network in a closure": lambda factor: closure(
        nn.Linear(1, 1, bias=False).requires_grad_(False).apply(lambda one: one.weight.fill_(factor))
    ),  # type: ignore[arg-type]
    "class": lambda factor: type("Made", (), {"factor": factor}),
    "cached": lambda factor: functools.cache(closure(factor)),
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("place", ["digits", "_digits"])
def test_what_an_attribute_holds_makes_another_model(kind: str, place: str) -> None:
    def wrapper(factor: float) -> Wrapper:
        model = Wrapper(None)
        setattr(model, place, PAIRS[kind](factor))
        return model

    one, same, other = (identity(wrapper(factor)) for factor in (2.0, 2.0, 3.0))
    assert one.sha256 != other.sha256
    assert one == same or (one.unidentified and one.sha256 != same.sha256)
    if kind != "cached":
        assert one == same and one.unidentified is None


def test_globals_that_a_function_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    for function, name, value in ((scaled, "FACTOR", 3.0), (looked_up, "TABLE", np.arange(5.0)), (looked_up, "_looked_up", scaled)):
        before = fingerprint(Wrapper(function))
        assert before == fingerprint(Wrapper(function))
        with monkeypatch.context() as patch:
            patch.setitem(globals(), name, value)
            assert fingerprint(Wrapper(function)) != before


def test_modules_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for number, text in enumerate(("F = 2.0", "F = 2.0", "F = 3.0", "import socket\nF = 2.0")):
        (tmp_path / f"own_{number}.py").write_text(f"import logging\nlog = logging.getLogger('x')\n{text}\ndef f(x):\n    return x * F\n")
        own = importlib.import_module(f"own_{number}")
        found.append(identity(Wrapper(types.FunctionType((lambda x: own_module.f(x)).__code__, {"own_module": own}))))  # type: ignore[name-defined]  # noqa: F821
    assert [one.unidentified is None for one in found] == [True, True, True, False]
    assert len({one.sha256 for one in found}) == 4, "their names differ, too"
    own_2 = sys.modules["own_2"]
    before = identity(Wrapper(own_2.f))
    own_2.F = 4.0  # type: ignore[attr-defined]
    assert identity(Wrapper(own_2.f)) != before


def fetches(x: torch.Tensor) -> Any:
    """Code that reaches beyond its arguments."""
    return urllib.request.urlopen("http://127.0.0.1:1", data=x.numpy().tobytes())


def reads(x: torch.Tensor) -> Any:
    """Code that reads a file."""
    return x + len(open("factor").read())


def imports(x: torch.Tensor) -> Any:
    """Code that imports when it runs."""
    import random

    return x * random.random()


SECRETS: dict[str, Callable[[], Any]] = {
    "connection": socket.socket,
    "lock": threading.Lock,
    "generator": torch.Generator,
    "random numbers": lambda: np.random.default_rng(0),
    "iterator": lambda: iter([1]),
    "opener": urllib.request.build_opener,
    "function that fetches": lambda: fetches,
    "function that reads": lambda: reads,
    "function that imports": lambda: imports,
    "object that holds a connection": lambda: SimpleNamespace(inner=socket.socket()),
    "closure over a lock": lambda: closure(threading.Lock()),  # type: ignore[arg-type]
    "subclass of another language's": lambda: type("Own", (socket.socket,), {})(),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_what_cannot_be_read_is_like_nothing(kind: str, tmp_path: Path) -> None:
    model = Wrapper(SECRETS[kind]())
    assert identity(model).unidentified == identity(model).unidentified is not None
    assert fingerprint(model) != fingerprint(model)
    target = replace(from_module(model, {"input_size": (1, 1, 2)}), cache=ArrayCache(tmp_path))
    assert target.outputs.directory is None, "nothing of it is kept"


def test_a_wrapper_around_what_cannot_be_read_is_not_identified_either() -> None:
    assert identity(nn.Sequential(nn.Identity(), Wrapper(socket.socket()))).unidentified == "1.digits"


def test_functions_that_torch_holds() -> None:
    one, other = (nn.TransformerEncoderLayer(2, 1, 2, activation=kind) for kind in (nn.functional.relu, nn.functional.gelu))
    other.load_state_dict(one.state_dict())
    assert fingerprint(one) != fingerprint(other)
