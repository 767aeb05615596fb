"""Networks of adversarial training against other people's code: logits of the same weights, and closed forms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from securitynet.loaders.nets._ensemble import Ensemble
from securitynet.loaders.nets._parts import Conv3x3, MeanSparse, PSSiLU, Squeeze
from securitynet.loaders.nets.early_resnet import early_resnet
from securitynet.loaders.nets.preact_resnet import preact_resnet
from securitynet.loaders.nets.small_stem_resnet import small_stem_resnet
from securitynet.loaders.nets.wide_resnet import wide_resnet
from securitynet.loaders.nets.wide_stem_resnet import wide_stem_resnet

SMALL: dict[str, Any] = {"depths": (1, 1, 1), "widths": (4, 8, 16, 32)}


def lively(network: nn.Module) -> nn.Module:
    """Random statistics of the batch norms, so that all of them count."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval()


def same(ours: nn.Module, theirs: nn.Module, size: int = 32) -> None:
    pixels = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels), theirs(pixels), atol=1e-5, rtol=1e-5)


def test_wide_resnet_is_that_of_pytorch_ood() -> None:
    """An implementation by others, with the same names: WRN-16-2."""
    model = pytest.importorskip("pytorch_ood.model")
    theirs = lively(model.WideResNet(depth=16, widen_factor=2, num_classes=7, drop_rate=0.0))
    ours = wide_resnet((2, 2, 2), (16, 32, 64, 128), num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    same(ours, theirs)


@pytest.mark.parametrize("depth", [18, 50])
def test_wide_stem_resnet_is_torchvisions(depth: int) -> None:
    theirs = lively(small_stem_resnet(depth, num_classes=7))
    kind: Any = "basic" if depth == 18 else "bottleneck"
    ours = wide_stem_resnet((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3), block=kind, num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    same(ours, theirs)


def test_resnext_is_that_of_pytorchcv() -> None:
    """32 groups of width 4: equal shapes in the same order."""
    provider = pytest.importorskip("pytorchcv.model_provider")
    theirs = lively(provider.get_model("resnext29_32x4d_cifar10", pretrained=False))
    ours = wide_stem_resnet((3, 3, 3), (64, 128, 256), "bottleneck", 32, 4).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    same(ours, theirs)


def test_preact_resnet_is_that_of_pytorchcv() -> None:
    """Pre-activated blocks with projections of the activation; its stem has the channels of the first stage, so ours gets them too."""
    provider = pytest.importorskip("pytorchcv.models.preresnet_cifar")
    theirs = lively(provider.CIFARPreResNet([[64, 64], [128, 128], [256, 256]], 64, False, num_classes=7))
    ours = preact_resnet((2, 2, 2), (64, 128, 256), num_classes=7).eval()
    by_shape = dict(zip(_forward_order(ours), _forward_order(theirs), strict=True))
    for part, other in by_shape.items():
        part.load_state_dict(other.state_dict())
    same(ours, theirs)


def _forward_order(network: nn.Module) -> list[nn.Module]:
    """Layers with weights in the order in which they are called."""
    called: list[nn.Module] = []
    parts = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    hooks = [part.register_forward_hook(lambda part, *_: called.append(part)) for part in parts]
    with torch.inference_mode():
        network(torch.rand(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    ends = [part for part in called if isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1)]  # shortcuts, wherever they are called
    return [part for part in called if part not in ends] + ends


def test_padding_as_tensorflow_does() -> None:
    padded = pytest.importorskip("timm.layers").Conv2dSame
    for stride in (1, 2):
        ours, theirs = Conv3x3(3, 4, stride, "same"), padded(3, 4, 3, stride, bias=False)
        theirs.load_state_dict(ours.state_dict())
        same(ours, theirs)
    assert not torch.allclose(Conv3x3(3, 4, 2, "same")(torch.ones(1, 3, 8, 8))[..., 0, 0], torch.zeros(4))


def test_squeeze_is_torchvisions() -> None:
    theirs = pytest.importorskip("torchvision.ops").SqueezeExcitation(8, 2)
    ours = Squeeze(8, 2)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))


def test_mean_sparse_by_hand() -> None:
    """Mean 1, variance 4, threshold 0.5: what is nearer to 1 than 1 becomes 1; without a threshold nothing changes."""
    layer = MeanSparse(2)
    x = torch.tensor([-1.0, 0.25, 1.5, 2.5]).view(1, 1, 1, 4).repeat(1, 2, 1, 1)
    assert torch.equal(layer(x), x)
    layer.running_mean.fill_(1.0)
    layer.running_var.fill_(4.0)
    layer.threshold.fill_(0.5)
    assert layer(x)[0, 1, 0].tolist() == [-1.0, 1.0, 1.0, 2.5]
    last = MeanSparse(4, axis=-1)
    last.running_mean.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    last.running_var.fill_(1.0)
    last.threshold.fill_(0.6)
    assert last(x)[0, 0, 0].tolist() == [-1.0, 0.25, 2.0, 3.0]


def test_pssilu_by_hand() -> None:
    """x (sigmoid(|alpha| x) - |beta|) / (1 - |beta|); SiLU where alpha is 1 and beta 0."""
    layer = PSSiLU()
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(layer(x), F.silu(x), atol=1e-6, rtol=1e-6)
    layer.alpha.data.fill_(-2.0)
    layer.beta.data.fill_(-0.5)
    torch.testing.assert_close(layer(x), x * (torch.sigmoid(2 * x) - 0.5) / 0.5)


def test_variants_of_the_wide_resnet() -> None:
    """What each changes: the length of the class weights, contrast and brightness of the image, one value within the blocks."""
    pixels = torch.rand(2, 3, 32, 32)
    cosine = lively(wide_resnet(**SMALL, cosine=True))
    with torch.inference_mode():
        before = cosine(pixels)
        cosine.fc.weight.mul_(3)  # type: ignore[operator, union-attr]
        torch.testing.assert_close(cosine(pixels), before)
        assert before.abs().max() <= 1
        standard = lively(wide_resnet(**SMALL, standardise=True))
        torch.testing.assert_close(standard(pixels), standard(pixels * 0.5 + 0.2), atol=1e-4, rtol=1e-4)
        assert standard(torch.full((1, 3, 32, 32), 0.5)).isfinite().all()
        sparse = lively(wide_resnet(**SMALL, mean_sparse=True))
        before = sparse(pixels)
        sparse.block2.layer[0].meansparse_1.running_var.fill_(1.0)  # type: ignore[operator, union-attr, index]
        sparse.block2.layer[0].meansparse_1.threshold.fill_(0.3)  # type: ignore[operator, union-attr, index]
        assert not torch.equal(sparse(pixels), before)
        plain = wide_resnet(**SMALL)
        plain.load_state_dict({key: value for key, value in sparse.state_dict().items() if "meansparse" not in key})
        torch.testing.assert_close(plain.eval()(pixels), before)


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    members = [lively(wide_resnet(**SMALL)) for _ in range(3)]
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = sum(model(pixels).softmax(dim=1) for model in members) / 3
        torch.testing.assert_close(Ensemble(members)(pixels), expected)


def test_early_resnets() -> None:
    """Torch's with silent biases is torchvision's; Caffe's has its strides in 1x1 convolutions and rounds the pooled side up."""
    resnet50 = pytest.importorskip("torchvision").models.resnet50
    theirs = lively(resnet50(weights=None, num_classes=7))
    ours = early_resnet((3, 4, 6, 3), "torch", num_classes=7).eval()
    state = theirs.state_dict()
    ours.load_state_dict({key: state.get(key, torch.zeros_like(value)) for key, value in ours.state_dict().items()})
    same(ours, theirs, 64)
    caffe = early_resnet((1, 1, 1, 1), "caffe", num_classes=7).eval()
    strided = {name for name, part in caffe.named_modules() if isinstance(part, nn.Conv2d) and part.stride == (2, 2)}
    assert strided == {"conv1", *(f"layer{i}.0.{part}" for i in (2, 3, 4) for part in ("conv1", "downsample.0"))}
    assert caffe.maxpool(torch.rand(1, 64, 112, 112)).shape[-1] == 56  # type: ignore[operator]


@pytest.mark.parametrize("make", [wide_resnet, preact_resnet, wide_stem_resnet])
def test_depths_and_widths_must_fit(make: Any) -> None:
    with pytest.raises(ValueError, match="depths"):
        make((1, 1), (8, 8, 8, 8))


def test_robustbench_itself() -> None:
    pytest.importorskip("robustbench", reason="robustbench is not installed beside securitynet (docs/other-environments.md)")
    script = Path(__file__).parents[1] / "benchmarks" / "robustbench_nets.py"
    done = subprocess.run([sys.executable, str(script), "--only", "*Wong2020Fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 equal" in done.stdout, done.stdout + done.stderr
