"""ImageNet as people hold it, its classes read as torchvision's own reader of the devkit reads them."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pictures import RNG, X, by_content, png, refused
from scipy.io import savemat

from securitynet.data.dataset import resolve
from securitynet.data.readers import image_set
from securitynet.entry import Entry

if TYPE_CHECKING:
    from hub import Hub

ENTRY = Entry(id="a/b", dataset="ImageNet-1k", input_size=(3, 6, 6), num_classes=1000)
IDS = resolve("ImageNet-1k").class_ids or ()
ORDER = np.random.default_rng(1).permutation(1000)  # ILSVRC2012_ID i + 1 is the class ORDER[i]: not the sorted order
LABELS = [int(label) for label in RNG.integers(0, 1000, 12)]


@pytest.fixture(scope="module")
def devkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The devkit as it is published: folder and archive; meta.mat with inner nodes of the tree after the 1000 classes."""
    folder = tmp_path_factory.mktemp("devkit") / "ILSVRC2012_devkit_t12"
    (folder / "data").mkdir(parents=True)
    columns = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images")
    kind = [(name, object) for name in columns]
    rows = [(place + 1, IDS[label], f"words {label}", "gloss", 0, [], 0, 1300) for place, label in enumerate(ORDER)]
    inner = [(1001 + place, f"n{99990000 + place}", "entity", "gloss", 3, [1, 2, 3], 9, 0) for place in range(5)]
    synsets = np.empty((1005, 1), dtype=kind)
    synsets[:, 0] = [*rows, *inner]
    savemat(folder / "data" / "meta.mat", {"synsets": synsets})
    numbers = [int(np.flatnonzero(label == ORDER)[0]) + 1 for label in LABELS]
    (folder / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{one}\n" for one in numbers))
    with tarfile.open(folder.parent / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    return folder.parent


def flat(folder: Path, count: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"ILSVRC2012_val_{index + 1:08d}.JPEG").write_bytes(png(X[index]))
    return folder


def right(path: Path, count: int = 12, entry: Entry = ENTRY) -> bool:
    images = image_set(entry, data=path)
    return by_content(images.test) == {X[index].tobytes(): LABELS[index] for index in range(count)}


def solution(path: Path) -> None:
    rows = [f"ILSVRC2012_val_{index + 1:08d},{IDS[label]} 1 2 3 4 {IDS[label]} 5 6 7 8 \n" for index, label in enumerate(LABELS)]
    path.write_text("ImageId,PredictionString\n" + "".join(rows[::-1]))


def test_the_devkits_numbers_are_read_as_torchvision_reads_them(devkit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import imagenet

    from securitynet.data.imagenet import _classes

    monkeypatch.setattr(imagenet, "_verify_archive", lambda *_: None)  # compares with the hash of the published file
    shutil.copy(devkit / "ILSVRC2012_devkit_t12.tar.gz", tmp_path)
    imagenet.parse_devkit_archive(tmp_path)
    _, theirs = imagenet.load_meta_file(tmp_path)
    ours = _classes(devkit / "val", devkit)
    assert theirs == [ours[f"{place:08d}"] for place in range(1, 13)] == [IDS[label] for label in LABELS]


@pytest.mark.parametrize("kind", ["archive", "folder", "files", "kaggle"])
def test_a_flat_folder(devkit: Path, tmp_path: Path, kind: str) -> None:
    images = flat(tmp_path / "ILSVRC2012_img_val")
    message = refused(images, ENTRY)
    assert "the images say no class; put the devkit" in message and "LOC_val_solution.csv" in message
    if kind == "archive":
        shutil.copy(devkit / "ILSVRC2012_devkit_t12.tar.gz", tmp_path)
    elif kind == "folder":
        shutil.copytree(devkit / "ILSVRC2012_devkit_t12", tmp_path / "ILSVRC2012_devkit_t12")
    elif kind == "files":
        for path in (devkit / "ILSVRC2012_devkit_t12" / "data").iterdir():
            shutil.copy(path, images)
    else:
        solution(tmp_path / "LOC_val_solution.csv")
    assert right(images) and right(tmp_path)
    assert right(images, entry=Entry(id="a/b", input_size=(3, 6, 6), num_classes=1000))
    next(images.glob("*4.JPEG")).unlink()
    assert len(by_content(image_set(ENTRY, data=images).test)) == 11
    assert "but the model has 10 classes; state the model's dataset" in refused(
        images, Entry(id="a/b", input_size=(3, 6, 6), num_classes=10)
    )


def test_a_tar_beside_the_devkit_and_train_folders(devkit: Path, tmp_path: Path) -> None:
    images = flat(tmp_path / "images")
    with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "w") as archive:
        for path in sorted(images.iterdir(), reverse=True):
            archive.add(path, path.name)
    shutil.rmtree(images)
    assert "the images say no class" in refused(tmp_path / "ILSVRC2012_img_val.tar", ENTRY)
    shutil.copy(devkit / "ILSVRC2012_devkit_t12.tar.gz", tmp_path)
    assert right(tmp_path / "ILSVRC2012_img_val.tar") and right(tmp_path)
    for label in (7, 3):
        folder = tmp_path / "train" / IDS[label]
        folder.mkdir(parents=True)
        (folder / f"{IDS[label]}_1.JPEG").write_bytes(png(X[100 + label]))
    images_ = image_set(ENTRY, data=tmp_path)
    assert by_content(images_.train) == {X[107].tobytes(): 7, X[103].tobytes(): 3} and right(tmp_path)


def test_kaggles_tree(tmp_path: Path) -> None:
    base = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    flat(base / "val")
    (base / "train" / IDS[5]).mkdir(parents=True)
    (base / "train" / IDS[5] / "a.JPEG").write_bytes(png(X[50]))
    sets = tmp_path / "ILSVRC" / "ImageSets" / "CLS-LOC"
    sets.mkdir(parents=True)
    (sets / "val.txt").write_text("".join(f"ILSVRC2012_val_{one:08d} {one}\n" for one in range(1, 13)))  # counts lines; no classes
    solution(tmp_path / "LOC_val_solution.csv")
    assert right(tmp_path) and right(base) and right(base / "val")
    assert by_content(image_set(ENTRY, data=tmp_path).train) == {X[50].tobytes(): 5}
    text = (tmp_path / "LOC_val_solution.csv").read_text().split("\n")
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(text[:-2]))
    assert "no class is stated for 1 images" in refused(tmp_path, ENTRY)


def test_class_folders_by_wordnet_id(tmp_path: Path) -> None:
    for index, label in enumerate(LABELS):
        path = tmp_path / "val" / IDS[label] / f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(X[index]))
    assert right(tmp_path)


def test_the_gated_repo(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the Hub serves it: gated, Parquet, label with the names in the devkit's sense but sorted by WordNet id, test labels of -1."""
    import datasets
    from hub import User
    from huggingface_hub import HfApi

    names = list(resolve("ImageNet-1k").class_names or ())
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})

    def part(start: int, labels: list[int]) -> Any:
        cells = [{"bytes": png(X[start + place]), "path": None} for place in range(len(labels))]
        return datasets.Dataset.from_dict({"image": cells, "label": labels}, features=features)

    parts = {"train": part(100, [4, 5]), "validation": part(0, LABELS), "test": part(200, [-1, -1])}
    hub.users["hf_ilsvrc"] = User("ILSVRC")
    owner = HfApi(token="hf_ilsvrc")
    owner.create_repo("ILSVRC/imagenet-1k", repo_type="dataset")
    datasets.DatasetDict(parts).push_to_hub("ILSVRC/imagenet-1k", token="hf_ilsvrc")
    owner.update_repo_settings("ILSVRC/imagenet-1k", repo_type="dataset", gated="manual")
    message = refused("ILSVRC/imagenet-1k", ENTRY, cache=tmp_path)
    assert "ILSVRC/imagenet-1k: gated on the Hub; accept its terms at https://" in message and "set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_ilsvrc")  # of one who has accepted them
    images = image_set(ENTRY, cache=tmp_path)
    assert by_content(images.test) == {X[index].tobytes(): LABELS[index] for index in range(12)}  # validation; test has no labels
    assert by_content(images.train) == {X[100].tobytes(): 4, X[101].tobytes(): 5} and images.dataset == "ImageNet-1k"
    again = image_set(ENTRY, cache=tmp_path, offline=True)
    assert again.test and images.test and again.test.fingerprint == images.test.fingerprint
