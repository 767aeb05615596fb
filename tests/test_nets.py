"""Own architectures: parameters as published, answers as those of independent constructions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from securitynet import catalog
from securitynet.loaders._architectures import build_network
from securitynet.loaders.nets.cifar_resnet import cifar_resnet
from securitynet.loaders.nets.ivrl_resnet18 import ivrl_resnet18
from securitynet.loaders.nets.medmnist_resnet import _ACSConv, medmnist_resnet
from securitynet.loaders.nets.small_vgg import small_vgg
from securitynet.loaders.nets.tinyvgg import tinyvgg


def different() -> list[str]:
    """One entry of the catalog for each own network and setting."""
    found = {
        (entry.architecture, entry.architecture_args, entry.num_classes): entry.id
        for entry in catalog.entries()
        if (entry.architecture or "").startswith("nets:")
    }
    return sorted(found.values())


@pytest.mark.parametrize("id", different())
def test_parameters_as_recorded(id: str) -> None:
    """The counts come from the publishers' own files and code, see the catalog's sources."""
    entry = catalog.entry(id)
    with torch.device("meta"):
        network = build_network(entry)
    assert sum(parameter.numel() for parameter in network.parameters()) == entry.params


@pytest.mark.parametrize(("depth", "params"), [(20, 0.27e6), (32, 0.46e6), (44, 0.66e6), (56, 0.85e6), (110, 1.7e6)])
def test_cifar_resnet_sizes_of_the_paper(depth: int, params: float) -> None:
    """Table 6 of arXiv:1512.03385."""
    count = sum(parameter.numel() for parameter in cifar_resnet(depth).parameters())
    assert float(f"{count:.2g}") == params


def test_cifar_resnet_shortcut_is_parameter_free() -> None:
    """With silent convolutions, a stage hands on every second pixel, between channels of zeros."""
    network = cifar_resnet(20).eval()
    for name, parameter in network.named_parameters():
        if ".conv" in name:
            nn.init.zeros_(parameter)
    x = torch.rand(2, 16, 8, 8)
    y = network.layer2(x)  # type: ignore[operator]
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


@pytest.mark.parametrize("depth", [19, 2, 0])
def test_cifar_resnet_depth(depth: int) -> None:
    with pytest.raises(ValueError, match="6n"):
        cifar_resnet(depth)


def as_torchvision(network: nn.Module, depth: int, head: str) -> nn.Module:
    """torchvision's ResNet with a 3x3 stem and no max-pool, holding the weights of an own network."""
    models = pytest.importorskip("torchvision").models
    other = models.get_model(f"resnet{depth}", weights=None, num_classes=7)
    other.conv1, other.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    renamed = {key.replace("shortcut", "downsample").replace(head, "fc"): tensor for key, tensor in network.state_dict().items()}
    other.load_state_dict(renamed)
    return other.eval()


@pytest.mark.parametrize("depth", [18, 50])
def test_medmnist_resnet_is_torchvisions_with_another_stem(depth: int) -> None:
    network = medmnist_resnet(depth, num_classes=7).eval()
    x = torch.rand(2, 3, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), as_torchvision(network, depth, "linear")(x))


def test_ivrl_resnet18_of_width_16_is_torchvisions_with_another_stem() -> None:
    network = ivrl_resnet18(16, num_classes=7).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), as_torchvision(network, 18, "classifier")(x))


def test_acs_convolution_plane_by_plane() -> None:
    """Each third of the output is a 2-D convolution over the slices of one plane."""
    convolution = _ACSConv(2, 7, 3, 1, 1)
    x = torch.rand(1, 2, 5, 5, 5)
    y = convolution(x)
    assert y.shape == (1, 7, 5, 5, 5)
    start = 0
    for size, dimension in ((3, 2), (2, 3), (2, 4)):
        weight = convolution.weight[start : start + size]
        slices = [F.conv2d(plane, weight, padding=1) for plane in x.unbind(dimension)]
        torch.testing.assert_close(y[:, start : start + size], torch.stack(slices, dimension))
        start += size


@pytest.mark.parametrize("kind", ["acs", "2.5d", "3d"])
def test_medmnist_volumes(kind: str) -> None:
    network = medmnist_resnet(18, kind, num_classes=3).eval()  # type: ignore[arg-type]
    shape = network.conv1.weight.shape  # type: ignore[union-attr]
    assert tuple(shape[2:]) == {"acs": (3, 3), "2.5d": (1, 3, 3), "3d": (3, 3, 3)}[kind]
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 28, 28, 28)).shape == (1, 3)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_other_sizes(size: int, channels: int) -> None:
    x = torch.rand(2, channels, size, size)
    for make in (small_vgg, tinyvgg):
        assert make(num_classes=5, in_channels=channels, size=size).eval()(x).shape == (2, 5)
