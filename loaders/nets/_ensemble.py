"""Several networks as one classifier: `members` of an entry's architecture_args."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class Ensemble(nn.Module):
    """The mean of the networks' probabilities, [n, k]; their weights lie under `models.0.`, `models.1.`, ..."""

    def __init__(self, models: Iterable[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([model(x).softmax(dim=1) for model in self.models]).mean(dim=0)
