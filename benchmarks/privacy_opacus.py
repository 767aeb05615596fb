"""Bounds on epsilon of trainings by DP-SGD (needs securitynet[privacy]): python benchmarks/privacy_opacus.py [--runs 100] [--output F]

A network without batch norm (64-64-10) on scikit-learn's digits: 600 mislabelled canaries with fair coins, 1,000 further images,
Opacus with the RDP accountant. Counts the runs whose lower bound (securitynet.canaries) exceeds the accountant's upper one: at most 10 of
100 may. The last lines are the same network without DP, for which the bound should be large. With --output, one JSON line per run; what
stands there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from securitynet import canaries
from securitynet.data.digits import digits
from securitynet.training import seeded

CANARIES, OTHERS, BATCH, PRIVATE_EPOCHS, PLAIN_EPOCHS = 600, 1000, 128, 10, 150
SETTINGS = {"noise 1.0": 1.0, "noise 0.6": 0.6, "no DP": 0.0}


def run(noise: float, seed: int) -> dict[str, object]:
    """Train once; return the accountant's epsilon and what the canaries show."""
    pixels, labels = digits()
    order = np.random.default_rng([11, seed]).permutation(len(labels))
    held, others = order[:CANARIES], order[CANARIES : CANARIES + OTHERS]
    drawn = canaries.draw(pixels[held], labels[held], classes=10, count=CANARIES, seed=seed)
    images, named = drawn.insert(pixels[others], labels[others])
    with seeded(seed):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
        epsilon = fit(network, scaled(images), torch.from_numpy(np.asarray(named).astype(np.int64)), noise)
    with torch.inference_mode():
        found = drawn.audit(network(scaled(drawn.images)))
    return {
        "accountant": epsilon,
        "bound": found.epsilon,
        "gaussian": found.gaussian_epsilon,
        "right": found.guesses.right,
        "made": found.guesses.made,
    }


def scaled(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).float().div(127.5).sub(1)


def fit(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, noise: float) -> float | None:
    """Train in place, by DP-SGD where there is noise; return the accountant's epsilon at canaries.DELTA."""
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5 if noise else 0.1, momentum=0.9 if not noise else 0.0)
    engine, model = None, network
    if noise:
        from opacus import PrivacyEngine

        engine = PrivacyEngine(accountant="rdp")
        model, optimiser, loader = engine.make_private(
            module=network, optimizer=optimiser, data_loader=loader, noise_multiplier=noise, max_grad_norm=1.0
        )
    for _ in range(PRIVATE_EPOCHS if noise else PLAIN_EPOCHS):
        for x, y in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return None if engine is None else float(engine.get_epsilon(canaries.DELTA))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    records = [json.loads(line) for line in args.output.read_text().splitlines()] if args.output and args.output.exists() else []
    known = {(one["setting"], one["seed"]) for one in records}
    for name, noise in SETTINGS.items():
        for seed in range(args.runs if noise else min(args.runs, 5)):
            if (name, seed) not in known:
                records.append({"setting": name, "seed": seed, **run(noise, seed)})
                if args.output:
                    with args.output.open("a") as file:
                        file.write(json.dumps(records[-1]) + "\n")
        own = [one for one in records if one["setting"] == name]
        bounds = [one["bound"] for one in own]
        above = sum(one["accountant"] is not None and one["bound"] > one["accountant"] for one in own)
        accountant = own[0]["accountant"]
        upper = "no upper one" if accountant is None else f"accountant {accountant:.2f}, exceeded in {above}"
        sys.stdout.write(f"{name}: {len(own)} runs, {upper}; bound mean {np.mean(bounds):.3f}, {min(bounds):.3f} to {max(bounds):.3f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
