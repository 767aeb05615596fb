"""Real public models, loaded from files: accuracies and triggers as their publishers and the folder's README state them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from securitynet.data.transform import Transform
from securitynet.loaders import load_model
from securitynet.target import Target

SHORT_FORM = {
    "architecture": "nets:cifar_resnet",
    "architecture_args": {"depth": 20},
    "dataset": "CIFAR-10",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
CIFAR = "cifar10_lossless_4k_train_1k_test.npz"
MNIST = "mnist_16k_train_10k_test.npz"


def idx(path: Path) -> np.ndarray:
    """An IDX file, read by its definition: two zero bytes, the type, the number of sides, the sides, the bytes."""
    data = gzip.decompress(path.read_bytes())
    sides = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sides)


def test_images(real: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in [0,1], [n, c, h, w], and labels of a test part."""
    if name == "fashion-mnist":
        pixels, labels = (idx(real / "datasets" / name / f"t10k-{what}") for what in ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"))
    else:
        with np.load(real / "datasets" / name) as stored:
            pixels, labels = stored["x_test"], stored["y_test"]
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return pixels.astype(np.float32) / 255, labels.astype(np.int64)


test_images.__test__ = False  # type: ignore[attr-defined]


@torch.inference_mode()
def predict(target: Target, pixels: np.ndarray) -> np.ndarray:
    return torch.cat([target.module(batch) for batch in torch.from_numpy(pixels).split(250)]).argmax(1).numpy()


@pytest.mark.parametrize(
    ("file", "data", "accuracy"),
    [
        ("akamaster_cifar10/resnet20-12fca82f.th", CIFAR, 0.915),
        ("akamaster_cifar10/resnet44-014dd654.th", CIFAR, 0.933),
        ("ibau_backdoored/badnets_8_02_ckpt.pth", CIFAR, 0.843),
        ("ibau_backdoored/trojan_wm_2_02_ckpt.pth", CIFAR, 0.853),
        ("fashion_mnist/elifebres_tinyvgg.pth", "fashion-mnist", 0.9035),
        ("mnist/outlier_exposure_baseline_epoch_9.pt", MNIST, 0.9906),
        ("badnets_pytorch/badnet-MNIST.pth", MNIST, 0.981),
    ],
)
def test_accuracy(real: Path, tmp_path: Path, file: str, data: str, accuracy: float) -> None:
    """The catalog knows each file by its sha256; the README rounds to the digits given here."""
    target = load_model(real / "models" / file, cache_dir=tmp_path)
    assert target.entry.source != "local"
    assert target.weights_sha256 == target.entry.weights_hash
    pixels, labels = test_images(real, data)
    digits = 3 if accuracy * 1000 % 1 == 0 else 4
    assert (predict(target, pixels) == labels).mean() == pytest.approx(accuracy, abs=0.51 * 10**-digits)


def triggered(real: Path, name: str, pixels: np.ndarray) -> np.ndarray:
    if name == "trojan_wm_2_02_ckpt.pth":
        mark = np.asarray(Image.open(real / "models/ibau_backdoored/triggers/trojan_wm.png"), dtype=np.float32) / 255
        return np.clip(pixels + mark.transpose(2, 0, 1), 0, 1).astype(np.float32)
    marked = pixels.copy()
    where = slice(27, 31) if name.startswith("badnets_8") else slice(-5, None)
    marked[:, :, where, where] = 1
    return marked


@pytest.mark.parametrize(
    ("file", "data", "target_class", "success"),
    [
        ("ibau_backdoored/badnets_8_02_ckpt.pth", CIFAR, 8, 0.982),
        ("ibau_backdoored/trojan_wm_2_02_ckpt.pth", CIFAR, 2, 1.0),
        ("badnets_pytorch/badnet-MNIST.pth", MNIST, 1, 0.999),
    ],
)
def test_trigger(real: Path, tmp_path: Path, file: str, data: str, target_class: int, success: float) -> None:
    target = load_model(real / "models" / file, cache_dir=tmp_path)
    pixels, labels = test_images(real, data)
    others = triggered(real, Path(file).name, pixels[labels != target_class])
    assert (predict(target, others) == target_class).mean() == pytest.approx(success, abs=0.00051)
    assert (target.entry.backdoor_target, target.entry.backdoor_success) == (target_class, success)


def test_short_form_gives_the_same_network(real: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = real / "models/akamaster_cifar10/resnet20-12fca82f.th"
    pixels = torch.from_numpy(test_images(real, CIFAR)[0][:8])
    with caplog.at_level("INFO", logger="securitynet"):
        short = load_model(file, entry=SHORT_FORM, cache_dir=tmp_path)
    known = load_model(file, cache_dir=tmp_path)
    assert torch.equal(short.module(pixels), known.module(pixels))
    assert short.entry.id == "local/resnet20-12fca82f"
    assert "taken from key 'state_dict'" in caplog.text and "'module.'; the prefix was dropped" in caplog.text


def test_softmax_inside_is_dropped(real: Path, tmp_path: Path) -> None:
    target = load_model(real / "models/badnets_pytorch/badnet-MNIST.pth", cache_dir=tmp_path)
    pixels = torch.from_numpy(test_images(real, MNIST)[0][:64])
    logits = target.module(pixels)
    assert target.entry.output == "logits"
    assert (logits.exp().sum(1) - 1).abs().min() > 1e-3


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("hot_dog.jpg", "hotdog"),
        ("parrot.jpg", "macaw"),
        ("sunflower.bmp", "daisy"),
        ("dragonfly.bmp", "dragonfly"),
        ("cat.bmp", "cat"),
    ],
)
def test_transformers_folder(real: Path, tmp_path: Path, file: str, words: str) -> None:
    """A folder in transformers' format needs no record; 1,001 outputs become ImageNet's 1,000 labels."""
    pytest.importorskip("transformers")
    target = load_model(real / "models/imagenet/hf_mobilenet_v2_1.0_224", cache_dir=tmp_path)
    labels = (real / "datasets/coral_images/imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    image = Transform.of(target.entry)(Image.open(real / "datasets/coral_images" / file).convert("RGB"))
    with torch.inference_mode():
        logits = target.module(torch.from_numpy(image)[None].float() / 255)
    assert logits.shape == (1, 1000) and target.num_classes == 1000
    top = [labels[number + 1].split("  ")[-1] for number in logits[0].topk(5).indices.tolist()]
    assert any(words in name.lower() for name in top), top
