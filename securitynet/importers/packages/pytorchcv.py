"""What pytorchcv states about its published classifiers, in the table that the package carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from securitynet.maintenance.records import Record

ADDRESS = "https://github.com/osmr/imgclsmob/releases/download"
SUFFIXES = {"cifar10": ("CIFAR-10", 10), "cifar100": ("CIFAR-100", 100), "svhn": ("SVHN", 10), "cub": ("CUB-200-2011", 200)}


def facts() -> Iterator[Record]:
    """Yield the columns of every model for ImageNet-1k, CIFAR, SVHN and CUB that has weights."""
    from securitynet.loaders._pytorchcv import table

    for name, row in table().items():
        found = SUFFIXES.get(name.rpartition("_")[2])
        if found is None and row["test_dataset"] == "in1k":
            found = ("ImageNet-1k", 1000)
        if found is not None:
            yield {"dataset": found[0], "num_classes": found[1]} | _record(name, row)


def _record(name: str, row: Mapping[str, str]) -> Record:
    """The sha1 is that of the one member of the archive."""
    file = f"{name}-{row['error_value']}-{row['checksum'][:8]}.pth"
    return {
        "id": f"pytorchcv/{name}",
        "source": "pytorchcv",
        "name": name,
        "revision": row["repo_release_tag"],
        "loader": "pytorchcv",
        "architecture": f"pytorchcv:{name}",
        "code_licence": "MIT",
        "weights_url": f"{ADDRESS}/{row['repo_release_tag']}/{file}.zip",
        "weights_file": f"{file}.zip",
        "archive_member": file,
        "hash_algorithm": "sha1",
        "weights_hash": row["checksum"],
        "hash_of": "member",
        "integrity": "full",
        "weights_format": "zip",
    }
