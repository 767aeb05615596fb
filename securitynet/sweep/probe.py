"""How fast this device is: two seconds of a ResNet-18."""

from __future__ import annotations

import time

import torch

MACS = 1_814_000_000  # of a ResNet-18 for one image of 224 x 224, multiply-accumulates
BATCH = {"cpu": 4, "cuda": 64}


def speed(seconds: float, device: torch.device) -> float:
    """Return the multiply-accumulates per second of one process, measured for about so many seconds."""
    from torchvision.models import resnet18

    batch = BATCH.get(device.type, BATCH["cpu"])
    network = resnet18(num_classes=10).eval().to(device)
    images = torch.zeros(batch, 3, 224, 224, device=device)
    with torch.inference_mode():
        _wait(network(images))
        start, passes = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            _wait(network(images))
            passes += 1
    return passes * batch * MACS / (time.perf_counter() - start)


def _wait(logits: torch.Tensor) -> None:
    """Wait until the device has computed this."""
    logits[0, 0].item()
