"""What an interrupted training run needs to go on: one safetensors file, replaced whole after every epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from securitynet.cache import digest, replacing
from securitynet.errors import UsageError


def fingerprint(recipe: Mapping[str, Any], network: nn.Module, tensors: Sequence[Tensor]) -> str:
    """Return the sha256 of what makes two runs the same: recipe, structure and initial weights of the network, data."""
    from securitynet.fingerprint import state_sha256

    content = [hashlib.sha256(np.ascontiguousarray(tensor.detach().cpu().numpy()).data).hexdigest() for tensor in tensors]
    return digest(recipe, repr(network), state_sha256(network), content)


@dataclass(frozen=True)
class Resume:
    """The checkpoint file of the run with fingerprint `key`."""

    path: Path
    key: str

    def save(self, network: nn.Module, optimiser: torch.optim.Optimizer, best: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
        """Write weights, optimiser, the best weights so far and `note` (JSON), all or nothing."""
        from safetensors.torch import save_file

        tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{name}": value for name, value in state.items() if isinstance(value, Tensor)}
        copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        with replacing(self.path) as part:
            save_file(copies, part, {"key": self.key, "note": json.dumps(note), "names": digest(sorted(copies))})

    def load(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Put the saved state into `network` and `optimiser`; return the note and the best weights, None without a file.

        A damaged file, or one that lacks tensors, counts as absent. Raises UsageError where the file belongs to another run.
        """
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                header, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            return None
        if header.get("key") != self.key:
            raise UsageError(
                f"{self.path} is the checkpoint of another run (recipe, network or data differ); remove it or name another file"
            )
        if header.get("names") != digest(sorted(tensors)):
            return None
        network.load_state_dict(_under("network/", tensors))
        _restore(optimiser, _under("optimiser/", tensors))
        return json.loads(header["note"]), {name: tensor.to(device) for name, tensor in _under("best/", tensors).items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _restore(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
