"""Two models are the same only if nothing that decides their answers differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from securitynet.fingerprint import fingerprint, state_sha256


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
