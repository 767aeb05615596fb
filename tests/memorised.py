"""An evaluation of a network that has learnt its training images by heart, for tests of reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

import securitynet
from securitynet.data import ArrayImages, ImageSet
from securitynet.results.result import Result

ATTACKS = ("membership/loss", "membership/entropy", "membership/correctness", "membership/modified_entropy_per_class", "membership/tail")
NAMES = ('<script>alert("0")</script>', "a & b", "$x$ é")


def evaluated(folder: Path, seed: int = 0, membership: str = "official-split") -> Result:
    """A linear network that has learnt random labels by heart, 200 members, 240 non-members of 6 x 5 pixels, 3 classes."""
    rng = np.random.default_rng(0)
    parts = [ArrayImages(rng.integers(0, 256, (n, 6, 5), dtype=np.uint8), rng.integers(0, 3, n)) for n in (200, 240)]
    x = torch.from_numpy(parts[0].pixels).float()[:, None] / 255
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(30, 3))
    optimiser = torch.optim.LBFGS(network.parameters(), max_iter=50)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = nn.functional.cross_entropy(network(x), torch.from_numpy(parts[0].labels))
        value.backward()
        return value

    optimiser.step(loss)
    images = ImageSet("of-my-own", *parts, membership=membership, class_names=NAMES)
    return securitynet.evaluate(
        network, images, ATTACKS, preprocessing={"input_size": [1, 6, 5], "id": "local/<b>x</b>"}, seed=seed, cache_dir=folder
    )
