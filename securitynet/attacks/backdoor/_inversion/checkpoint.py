"""Groups on disk, so that an interrupted search goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from securitynet.attacks.backdoor._inversion.group import Group
from securitynet.cache import digest, replacing

if TYPE_CHECKING:
    from securitynet.attacks.backdoor._inversion.search_images import SearchImages
    from securitynet.attacks.backdoor._inversion.settings import InversionSettings
    from securitynet.target import Target


@dataclass(frozen=True)
class Checkpoint:
    """A folder of one search: a file for each group of classes at each step it was taken to. None: nothing is kept."""

    folder: Path | None

    @classmethod
    def of(cls, target: Target, images: SearchImages, settings: InversionSettings) -> Checkpoint:
        """Return the folder beside the model's outputs; its name says model, images and settings."""
        if target.cache.directory is None:
            return cls(None)
        key = digest(target.fingerprint, images.digest, asdict(settings))
        return cls(target.cache.directory.parent / "inversion" / key)

    def get(self, classes: Sequence[int], until: int, device: torch.device) -> tuple[Group, int] | None:
        """Return the group of `classes` at step `until` and the images that it cost, or None. A damaged or incomplete file is none."""
        from safetensors import SafetensorError, safe_open

        path = self._path(classes, until)
        if path is None or not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                note = file.metadata() or {}
                if note.get("tensors") != str(len(file.keys())) or "asked" not in note:
                    return None
                tensors = [file.get_tensor(f"{number:02}").to(device) for number in range(len(file.keys()))]
                return Group.of(tensors, until), int(note["asked"])
        except SafetensorError:
            return None

    def put(self, group: Group, query_count: int) -> None:
        """Keep a group."""
        from safetensors.torch import save_file

        path = self._path(group.classes.tolist(), group.steps)
        if path is None:
            return
        tensors = {f"{number:02}": value.cpu().contiguous().clone() for number, value in enumerate(group.tensors())}
        with replacing(path) as part:
            save_file(tensors, part, {"asked": str(query_count), "tensors": str(len(tensors))})

    def clear(self) -> None:
        """Remove the folder: the search is over."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, classes: Sequence[int], until: int) -> Path | None:
        name = f"{digest(list(classes))[:16]}-{until}.safetensors"
        return None if self.folder is None else self.folder / name
