"""Small targets for attacks with adversarial images: a linear model, a trained one, and the same with its gradients masked."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.digits import digits
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.target import Target, build

ENTRY = Entry(id="test/evaded", num_classes=10, input_size=(1, 8, 8))


def splits(n: int = 400, entry: Entry = ENTRY) -> Splits:
    """Digits of 8 x 8 pixels: half of them members, half test images."""
    pixels, labels = digits()
    half = n // 2
    parts = ArrayImages(pixels[:half], labels[:half]), ArrayImages(pixels[half:n], labels[half:n])
    return draw(ImageSet("digits", *parts), Transform(entry.input_size or ()), 10)


class Net(nn.Module):
    """Two layers with ReLU between."""

    def __init__(self, wide: int = 64) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, wide), nn.Linear(wide, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.second(self.first(pixels.flatten(1)).relu())


@cache
def trained(robust: bool = False, seed: int = 0) -> Net:
    """A network trained on the digits for a moment; `robust`: on images changed by one step against it (Linf, 0.1)."""
    torch.manual_seed(seed)
    network = Net()
    pixels, labels = digits()
    x, y = torch.from_numpy(pixels.copy()).float().div(255).unsqueeze(1), torch.from_numpy(labels.copy())
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(150):
        shown = x
        if robust:
            followed = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(network(followed), y), followed)
            shown = (x + 0.1 * gradient.sign()).clamp(0, 1)
        optimiser.zero_grad()
        F.cross_entropy(network(shown), y).backward()
        optimiser.step()
    return network.eval()


def target(module: nn.Module, entry: Entry = ENTRY) -> Target:
    """The target of a module."""
    return build(entry, module)


class Linear(nn.Module):
    """`classes` planes; the pixels it sees stay far from 0 and 1 where the images do."""

    def __init__(self, classes: int = 2, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(classes, 64, generator=generator) * scale)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.flatten(1) - 0.5) @ self.weight.T


def grey(network: nn.Module, n: int = 64, low: int = 100, high: int = 156, classes: int = 2) -> Splits:
    """Images of noise with the labels that a network gives them."""
    pixels = np.random.default_rng(0).integers(low, high, (2 * n, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        labels = network(torch.from_numpy(pixels.copy()).float().div(255)).argmax(1).numpy()
    images = ImageSet("grey", ArrayImages(pixels[:n], labels[:n]), ArrayImages(pixels[n:], labels[n:]))
    return draw(images, Transform((1, 8, 8)), classes)


class Steep(nn.Module):
    """Probabilities of a softmax so steep that they are 0 and 1: a defence that takes the gradient away (returns probabilities)."""

    def __init__(self, module: nn.Module, slope: float = 1e4) -> None:
        super().__init__()
        self.module, self.slope = module, slope

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(self.slope * self.module(pixels), 1)


class Quantised(nn.Module):
    """The pixels rounded to `levels` before the network."""

    def __init__(self, module: nn.Module, levels: int = 8) -> None:
        super().__init__()
        self.module, self.levels = module, levels

    def forward(self, pixels: Tensor) -> Tensor:
        return self.module((pixels * self.levels).round() / self.levels)


class Resized(nn.Module):
    """The pixels padded at a random place and resized back, anew in each pass (Xie et al. 2018)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> Tensor:
        left, top = (int(torch.randint(0, 3, ())) for _ in range(2))
        padded = F.pad(pixels, (left, 2 - left, top, 2 - top))
        return self.module(F.interpolate(padded, pixels.shape[2:], mode="bilinear"))


class Noisy(nn.Module):
    """Gaussian noise on the logits, anew in each pass."""

    def __init__(self, module: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.module, self.scale = module, scale

    def forward(self, pixels: Tensor) -> Tensor:
        logits = self.module(pixels)
        return logits + self.scale * torch.randn_like(logits)
