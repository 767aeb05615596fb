"""Weights in each source's own layout load strictly, and answer as the source's own network does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from securitynet import catalog
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.loaders import load

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def shaken(network: nn.Module) -> nn.Module:
    """The network with statistics as after training, so that a norm in the wrong place shows."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.1
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            module.weight.data = torch.rand(module.num_features, generator=generator) + 0.5
    return network.eval()


def answers(id: str, checkpoint: Any, folder: Path, images: torch.Tensor = IMAGES) -> torch.Tensor:
    """Logits of the catalog's own loader for a checkpoint; the record's hash is that of the real file, and left out."""
    record = catalog.entry(id).to_record() | {"weights_hash": None, "hash_algorithm": None, "integrity": "none", "mean": None, "std": None}
    path = folder / (record["weights_file"] or "weights.pth")
    torch.save(checkpoint, path)
    target = load(Entry.from_record(record | {"archive_member": None, "weights_size": None}), Files(folder, offline=True, local=path))
    with torch.no_grad():
        return target.module.eval()(images)


def detectors_resnet() -> nn.Module:
    import timm

    network = timm.create_model("resnet18", num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return network


def detectors_densenet() -> nn.Module:
    from timm.models.densenet import DenseNet

    network = DenseNet(growth_rate=12, block_config=(6, 12, 24, 16), num_classes=10)
    network.features.conv0 = nn.Conv2d(3, 24, 3, padding=1, bias=False)
    network.features.norm0 = network.features.pool0 = nn.Identity()
    return network


def detectors_vgg() -> nn.Module:
    import timm

    network = timm.create_model("vgg16_bn", num_classes=10)
    network.pre_logits, network.head.fc = nn.Identity(), nn.Linear(512, 10)
    return network


def huyvnphan_resnet() -> nn.Module:
    from torchvision.models import resnet18

    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    return network


def mobilenet() -> nn.Module:
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(num_classes=10)
    network.features[0][0].stride = network.features[2].conv[1][0].stride = (1, 1)
    return network


def shufflenet() -> nn.Module:
    from torchvision.models import shufflenet_v2_x1_0

    network = shufflenet_v2_x1_0(num_classes=10)
    network.conv1[0].stride, network.maxpool = (1, 1), nn.Identity()
    return network


def vgg() -> nn.Module:
    from torchvision.models import vgg11_bn

    network = vgg11_bn(num_classes=10)
    network.avgpool = nn.Identity()
    network.classifier[0], network.classifier[3], network.classifier[6] = nn.Linear(512, 512), nn.Linear(512, 512), nn.Linear(512, 10)
    return network


def wide_resnet() -> nn.Module:
    from pytorch_ood.model import WideResNet

    return WideResNet(num_classes=10, depth=40, widen_factor=2)


@pytest.mark.parametrize(
    ("id", "make"),
    [
        ("detectors/resnet18_cifar10", detectors_resnet),
        ("detectors/densenet121_cifar10", detectors_densenet),
        ("detectors/vgg16_bn_cifar10", detectors_vgg),
        ("huyvnphan/cifar10/resnet18", huyvnphan_resnet),
        ("huyvnphan/cifar10/mobilenet_v2", mobilenet),
        ("chenyaofo/cifar10_mobilenetv2_x1_0", mobilenet),
        ("chenyaofo/cifar10_shufflenetv2_x1_0", shufflenet),
        ("chenyaofo/cifar10_vgg11_bn", vgg),
        ("pytorch_ood/wrn-40-2/cifar10/crossentropy", wide_resnet),
    ],
)
def test_the_same_logits(id: str, make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = shaken(make())
    with torch.no_grad():
        expected = network(IMAGES)
    torch.testing.assert_close(answers(id, network.state_dict(), tmp_path), expected, rtol=1e-4, atol=1e-5)


def test_a_block_of_repvgg_is_one_convolution() -> None:
    """Section 3.3 of arXiv:2101.03697: the three branches equal one 3x3 convolution with a bias."""
    from securitynet.loaders.nets.small_stem_repvgg import _Block

    block = shaken(_Block(4, 4, 1))
    kernel, bias = torch.zeros(4, 4, 3, 3), torch.zeros(4)
    eye = torch.eye(4)[:, :, None, None]
    branches = [
        (block.rbr_dense.conv.weight, block.rbr_dense.bn, 0),
        (block.rbr_1x1.conv.weight, block.rbr_1x1.bn, 1),
        (eye, block.rbr_identity, 1),
    ]
    for weight, norm, pad in branches:
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        kernel += nn.functional.pad(weight, [pad] * 4) * factor[:, None, None, None]
        bias += norm.bias - norm.running_mean * factor
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(block(x), nn.functional.conv2d(x, kernel, bias, padding=1).relu(), rtol=1e-4, atol=1e-5)


def test_densenets_with_dots_in_their_names(tmp_path: Path) -> None:
    """The published files still carry names from before modules were forbidden to hold dots."""
    from torchvision.models import densenet121

    network = shaken(densenet121())
    dotted = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor for name, tensor in network.state_dict().items()}
    old = {name: tensor for name, tensor in dotted.items() if not name.endswith("num_batches_tracked")}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(answers("torchvision/densenet121.IMAGENET1K_V1", old, tmp_path, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_prefix_that_the_record_names(prefix: str, tmp_path: Path) -> None:
    network = wide_resnet()
    network.fc = nn.Linear(128, 1000)
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    assert answers("pytorch_ood/wrn-40-2/imagenet32-nocifar/crossentropy", state, tmp_path).shape == (3, 1000)
