"""Parts that several networks for small images share: activations, padding, squeeze and excitation, MeanSparse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

Activation = Literal["relu", "silu", "pssilu"]
Padding = Literal["even", "same"]


class PSSiLU(nn.Module):
    """The parametric shifted SiLU of Dai et al., 2021, arXiv:2110.05626: x (sigmoid(|alpha| x) - |beta|) / (1 - |beta|)."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor([1e-8]))
        self.alpha = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shift = self.beta.abs()
        return x * (torch.sigmoid(self.alpha.abs() * x) - shift) / (1 - shift)


def activation(name: Activation) -> nn.Module:
    """Return a layer by name."""
    layers: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "pssilu": PSSiLU}
    return layers[name]()


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution without bias. `same` pads a stride of 2 on the right and below only, as TensorFlow does; `even` on all sides."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, padding: Padding = "even") -> None:
        self.uneven = padding == "same" and stride == 2
        super().__init__(inputs, outputs, 3, stride, 0 if self.uneven else 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.uneven else x)


class Squeeze(nn.Module):
    """Squeeze and excitation, Hu et al., 2018, arXiv:1709.01507: every channel times a number in [0,1] that depends on all."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()


class MeanSparse(nn.Module):
    """Values nearer to their channel's mean than `threshold` standard deviations become the mean: Amini et al., 2024, arXiv:2406.05927.

    `axis` is that of the channels. All is stored with the weights, the counters of the fit as well.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    threshold: torch.Tensor

    def __init__(self, channels: int, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.zeros(channels))
        self.register_buffer("threshold", torch.tensor(0.0))
        self.register_buffer("flag_update_statistics", torch.tensor(0))
        self.register_buffer("batch_num", torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = [1] * x.ndim
        shape[self.axis] = -1
        mean = self.running_mean.view(shape)
        near = (x - mean).abs() < self.threshold * self.running_var.sqrt().view(shape)
        return torch.where(near, mean, x)
