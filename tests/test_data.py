"""Splits, transforms and the records of image datasets, against torchvision, timm and what is published."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from securitynet.data import ArrayImages, ImageSet, draw
from securitynet.data.dataset import ImageDataset, features, find, records, resolve
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError, UsageError


@pytest.fixture
def images() -> ImageSet:
    """100 training and 40 test images of 4 classes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (140, 6, 6, 3), dtype=np.uint8)
    labels = rng.integers(0, 4, 140)
    return ImageSet("some", ArrayImages(pixels[:100], labels[:100]), ArrayImages(pixels[100:], labels[100:]))


TRANSFORM = Transform((3, 6, 6))


def test_everything_is_taken_where_samples_allow(images: ImageSet) -> None:
    splits = draw(images, TRANSFORM, 4, seed=3)
    assert splits.members and splits.non_members and splits.test
    assert splits.members.indices.tolist() == list(range(100)) and splits.non_members.indices.tolist() == list(range(40))
    assert splits.queries is None and splits.missing is None
    assert splits.manifest == draw(images, TRANSFORM, 4, seed=4).manifest


def test_drawn_splits_are_disjoint_and_follow_the_seed(images: ImageSet) -> None:
    splits, again, other = (draw(images, TRANSFORM, 4, seed, samples=30) for seed in (0, 0, 1))
    assert splits.members and splits.queries and splits.non_members and other.members
    assert len(splits.members) == len(splits.non_members) == 30
    assert not set(splits.members.indices) & set(splits.queries.indices)
    assert splits.manifest == again.manifest != other.manifest
    assert set(splits.members.indices) != set(other.members.indices)
    pixels = splits.members.pixels([0, 5])
    assert images.train is not None
    expected = np.stack([images.train[int(splits.members.indices[place])] for place in (0, 5)]).transpose(0, 3, 1, 2)
    assert np.array_equal((pixels.numpy() * 255).round(), expected)


def test_the_manifest_changes_with_a_label_and_with_a_pixel(images: ImageSet) -> None:
    before = draw(images, TRANSFORM, 4)
    assert isinstance(images.train, ArrayImages) and before.members
    relabelled, repainted = images.train.labels.copy(), images.train.pixels.copy()
    relabelled[7] = (relabelled[7] + 1) % 4
    repainted[7, 0, 0, 0] ^= 1
    by_label = draw(ImageSet("some", ArrayImages(images.train.pixels, relabelled), images.test), TRANSFORM, 4)
    by_pixel = draw(ImageSet("some", ArrayImages(repainted, images.train.labels), images.test), TRANSFORM, 4)
    assert len({before.manifest, by_label.manifest, by_pixel.manifest}) == 3
    assert by_label.members and by_label.members.digest == before.members.digest  # the model sees the same images
    assert by_pixel.members and by_pixel.members.digest != before.members.digest


def test_an_index_file_gives_members_with_the_labels_as_trained(images: ImageSet) -> None:
    assert isinstance(images.train, ArrayImages)
    published, as_trained = images.train.labels, (images.train.labels + 1) % 4
    members = np.arange(0, 100, 2)
    trained = ArrayImages(images.train.pixels, as_trained)
    indexed = ImageSet("some", trained, images.train, membership="index-file", members=members)
    splits = draw(indexed, TRANSFORM, 4)
    assert splits.members and splits.non_members and splits.test
    assert splits.members.indices.tolist() == members.tolist()
    assert np.array_equal(splits.members.labels, as_trained[members])
    assert splits.non_members.indices.tolist() == list(range(1, 100, 2))
    assert np.array_equal(splits.test.labels, published[splits.test.indices])
    with pytest.raises(DataError, match="some: an index file needs"):
        draw(ImageSet("some", trained, None, membership="index-file"), TRANSFORM, 4)


def test_a_missing_part_is_none_and_named(images: ImageSet) -> None:
    splits = draw(ImageSet("some", None, images.test), TRANSFORM, 4)
    assert splits.members is None and splits.queries is None and splits.non_members is not None
    assert splits.missing == "no training images available"
    assert draw(ImageSet("some", images.train, None), TRANSFORM, 4).missing == "no test images available"


def test_labels_outside_the_model_are_refused(images: ImageSet) -> None:
    with pytest.raises(DataError, match=r"test: labels run from 0 to 3, but the model has 3 classes \(0 to 2\)"):
        draw(images, TRANSFORM, 3)
    with pytest.raises(DataError, match="2 images but 3 labels"):
        ArrayImages(np.zeros((2, 4, 4), np.uint8), np.zeros(3))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_resize_and_crop_are_those_of_torchvision(interpolation: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width, side = rng.integers(20, 200, 3)
        resize = int(side + rng.integers(-9, 20))
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        mode = transforms.InterpolationMode(interpolation)
        expected = transforms.CenterCrop(int(side))(transforms.Resize(resize, mode)(picture))
        got = Transform((3, int(side), int(side)), resize, "center", interpolation)(picture)
        assert np.array_equal(got, np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
def test_crops_are_those_of_timm(crop: str, size: tuple[int, int]) -> None:
    from timm.data import create_transform

    rng, mean = np.random.default_rng(1), (0.5, 0.4, 0.3)
    for fraction in (1.0, 0.875):
        known = create_transform(
            (3, *size), is_training=False, crop_mode=crop, crop_pct=fraction, mean=mean, interpolation="bicubic", normalize=False
        )
        entry = Entry(id="a/b", input_size=(3, *size), resize=int(32 / fraction), crop=crop, interpolation="bicubic", mean=mean)
        for _ in range(25):
            height, width = rng.integers(20, 200, 2)
            picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            assert np.array_equal(Transform.of(entry)(picture), np.asarray(known(picture)))


def test_nothing_is_squashed_unless_it_is_stated() -> None:
    """Without a rule, images must have the input size; `center` without `resize` cuts the middle out of the image as it is."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8))
    with pytest.raises(DataError, match="images are 20x30, the model takes 8x8, and its record does not say how they are made to fit"):
        Transform((1, 8, 8))(picture)
    squashed = picture.resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(Transform((1, 8, 8), crop="squash")(np.asarray(picture))[0], np.asarray(squashed))
    assert np.array_equal(Transform((1, 8, 8), crop="center")(picture)[0], np.asarray(picture)[6:14, 11:19])
    assert np.array_equal(Transform((1, 20, 30))(picture)[0], np.asarray(picture))


def test_channels_are_copied_dropped_or_refused() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    copied = Transform((3, 4, 4), grey_to_rgb=True)
    assert np.array_equal(copied(grey), np.stack([grey] * 3))
    batch = copied.batch(grey[None])
    assert batch is not None and np.array_equal(batch[0], copied(grey))
    with pytest.raises(DataError, match="images have 1 channels, the model takes 3; grey_to_rgb"):
        Transform((3, 4, 4))(grey)
    rgba = np.dstack([grey, grey + 1, grey + 2, grey + 3])
    assert np.array_equal(Transform((3, 4, 4))(rgba), rgba[..., :3].transpose(2, 0, 1))
    with pytest.raises(DataError, match="images have 3 channels, the model takes 1"):
        Transform((1, 4, 4))(rgba[..., :3])
    volume = np.zeros((4, 5, 6), np.uint8)
    assert Transform((3, 4, 5, 6))(volume).shape == (3, 4, 5, 6)
    with pytest.raises(DataError, match=r"volumes are \(4, 5, 6\), the model takes \(4, 4, 4\)"):
        Transform((1, 4, 4, 4))(volume)


def test_other_picture_modes_are_understood_at_any_size() -> None:
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(TRANSFORM(palette), np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    cmyk = colour.convert("CMYK")
    assert np.array_equal(TRANSFORM(cmyk), np.asarray(cmyk.convert("RGB")).transpose(2, 0, 1))
    with pytest.raises(DataError, match="more than 8 bits per channel"):
        TRANSFORM(Image.fromarray(np.zeros((6, 6), np.uint16)))
    with pytest.raises(DataError, match="an image is float32"):
        Transform((1, 3, 3))(np.zeros((6, 6), np.float32))


def test_records_of_datasets_are_complete_and_consistent() -> None:
    keys = {"CIFAR-10", "CIFAR-100", "SVHN", "ImageNet-1k", "CUB-200-2011", "Fashion-MNIST", "MNIST", "GTSRB", "digits", "breastmnist"}
    assert keys <= {record.key for record in records()}
    for record in records():
        for classes in (record.class_names, record.class_ids):
            assert classes is None or len(classes) == len({name.casefold() for name in classes}) == record.num_classes
        assert record.title and record.category and record.membership and record.membership_note and record.num_classes is not None
        assert record.hub_id is None or (record.train_split and record.test_split and record.image_column and record.label_column)
    names = [name.casefold() for record in records() for name in (record.key, *(record.aliases or ()))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "key"),
    [("ImageNet1k", "ImageNet-1k"), ("imagenet", "ImageNet-1k"), ("cifar10", "CIFAR-10"), ("CIFAR100", "CIFAR-100"), ("mnist", "MNIST")],
)
def test_aliases_resolve(name: str, key: str) -> None:
    assert resolve(name).key == key


def test_an_unknown_dataset_names_its_neighbours() -> None:
    assert find("CIFAR-11") is None and find(None) is None
    with pytest.raises(UsageError, match="unknown image dataset 'CIFAR-11'; did you mean CIFAR-1"):
        resolve("CIFAR-11")


def test_a_record_with_a_mistake_names_it() -> None:
    with pytest.raises(UsageError, match="dataset x: unknown column 'class_name'; did you mean class_names"):
        ImageDataset.from_record({"key": "x", "class_name": []})
    with pytest.raises(UsageError, match="dataset x: membership 'official' is not one of official-split, index-file, unknown"):
        ImageDataset.from_record({"key": "x", "membership": "official"})
    with pytest.raises(UsageError, match="dataset x: num_classes must be int64, not '10'"):
        ImageDataset.from_record({"key": "x", "num_classes": "10"})


def test_every_line_of_the_catalog_has_every_column() -> None:
    folder = resources.files("securitynet.catalog") / "datasets"
    for file in folder.iterdir():
        for line in file.read_text(encoding="utf-8").splitlines():
            assert set(json.loads(line)) == set(features())


def test_the_classes_of_imagenet_are_those_of_torchvision_and_timm() -> None:
    from timm.data import ImageNetInfo

    meta = pytest.importorskip("torchvision.models._meta")
    record = resolve("ImageNet-1k")
    assert record.class_names and record.class_ids
    assert list(record.class_ids) == ImageNetInfo("imagenet-1k").label_names()
    same = sum(ours.split(",")[0] == theirs for ours, theirs in zip(record.class_names, meta._IMAGENET_CATEGORIES, strict=True))
    assert same >= 980


def test_digits_are_those_of_scikit_learn() -> None:
    from securitynet.data.digits import digits

    pixels, labels = digits()
    bunch = load_digits()
    assert np.array_equal(labels, bunch.target) and np.abs(pixels - bunch.images * 255 / 16).max() <= 0.5
