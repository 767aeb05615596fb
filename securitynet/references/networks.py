"""What reference models are: any named architecture, or one that suits the size of the images."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from securitynet.entry import Entry
from securitynet.target import Preprocess
from securitynet.training import seeded

SMALL = 64  # pixels; up to here a small residual network learns the images in minutes on a processor
SMALL_NETWORK = {"channels": [16, 24, 32, 48], "output_stride": 8, "stem_width": 8}


def blueprint(architecture: str, arguments: str | None, input_size: tuple[int, ...], classes: int) -> Entry:
    """Return the record of the network: `auto`, or `timm:NAME | torchvision:NAME | pytorchcv:NAME | nets:NAME` with its arguments as JSON.

    Pixels in [0,1] are taken to [-1,1].
    """
    if architecture == "auto":
        architecture = "timm:resnet10t"
        arguments = json.dumps(SMALL_NETWORK | {"in_chans": input_size[0]}) if max(input_size[1:]) <= SMALL else None
    return Entry(
        id="reference models",
        architecture=architecture,
        architecture_args=arguments,
        num_classes=classes,
        input_size=input_size,
        mean=(0.5,),
        std=(0.5,),
    )


def create(record: Entry, seed: int) -> nn.Module:
    """Return the network with its normalisation, fresh weights drawn from `seed`; a softmax that ends it is dropped.

    Raises UsageError or LoadError as the loaders do.
    """
    from securitynet.loaders._architectures import build_network

    with seeded(seed):
        network = build_network(record)
    if isinstance(getattr(network, "softmax", None), nn.Softmax):
        network.softmax = nn.Identity()
    return nn.Sequential(Preprocess(record), network)


def stackable(network: nn.Module, input_size: tuple[int, ...]) -> bool:
    """Say whether training draws nothing at random inside the network (dropout, stochastic depth), as stacks could not repeat it."""
    network.train()
    with seeded(0), torch.no_grad():
        before = torch.get_rng_state()
        network(torch.zeros(2, *input_size))
        return bool(torch.equal(before, torch.get_rng_state()))


@torch.inference_mode()
def logits_of(network: nn.Module, images: Tensor, device: torch.device, batch_size: int = 256) -> Tensor:
    """Return logits float32 [n, classes], on the CPU, of uint8 images [n, c, h, w]."""
    network.to(device).eval()
    parts = [network(part.to(device).float().div_(255)).float().cpu() for part in images.split(batch_size)]
    return torch.cat(parts)
