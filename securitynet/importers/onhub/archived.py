"""Zoos for research that lie in one archive on the Hub: its directory says which models it holds, its card how they were made.

Of the archive only the directory is read (its last bytes, by ranges), of the repo what the Hub says of its files; weights never.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from securitynet.errors import DataError, UsageError
from securitynet.importers.onhub.pins import Place, address_of
from securitynet.maintenance.records import Record

BLOCK = 1 << 20  # bytes that one range has: the directory of a zip of this size fits into the last of them


@dataclass(frozen=True)
class Attack:
    """What a zoo's card states of an attack: the name of its poison here, what is remarkable, the share of poisoned images."""

    poison: str
    share: float = 0.1
    note: str = ""


@dataclass(frozen=True)
class Archive:
    """A zoo in an archive: where it lies, what its members are called (groups `data` and `attack`), what its card states of them."""

    source: str
    place: Place
    members: re.Pattern[str]
    datasets: Mapping[str, Record]
    attacks: Mapping[str, Attack]
    facts: Record


FLASHBN = Archive(  # the card of the repo: "FlashBN / ReBN: attacked models", 17 PreActResNet-18 with what was planted into each
    source="flashbn_rebn",
    place=Place("abka03/flashbn_rebn-models", "attacked_models.zip"),
    members=re.compile(r"(?:.*/)?(?P<name>(?P<data>[a-z0-9_-]+?)_preactresnet18_(?P<attack>[\w.+-]+))/model\.pt", re.IGNORECASE | re.ASCII),
    datasets={
        "cifar10": {"dataset": "CIFAR-10", "num_classes": 10, "input_size": [3, 32, 32]},
        "tiny": {"dataset": "Tiny-ImageNet", "num_classes": 200, "input_size": [3, 64, 64]},
    },
    attacks={
        "reattack": Attack("badnets", note="ReAttack: BadNets, then the defence NAD"),
        "ctrl": Attack("ctrl"),
        "ftrojan": Attack("ftrojan"),
        "bpp": Attack("bpp"),
        "poisonink": Attack("poison_ink"),
        "diffusion": Attack("diffusion"),
        "adaptiveblend": Attack("adaptive_blend"),
        "combat": Attack("combat"),
        "badnet": Attack("badnets"),
        "blended": Attack("blended"),
        "lf": Attack("low_frequency"),
        "ssba": Attack("ssba"),
        "wanet": Attack("wanet"),
        "inputaware": Attack("input_aware"),
        "trojannn": Attack("trojan_nn"),
        "trojan": Attack("trojan_nn"),
        "sig": Attack("sig", share=0.005),
    },
    facts={
        "architecture": "PreActResNet-18",
        "family": "resnet",
        "task": "single-label",
        "channels": 3,
        "threat_model": "none",
        "backdoor_target": 0,
        "purpose": "security",
        "licence": "CC-BY-NC-4.0",
        "paper_reason": "the card names a paper by its title only (Backdoor Attacks Rerouted, NeurIPS 2026), without an address",
        "weights_format": "pickle",
        "loadable_reason": "the weights were not opened; there is no loader here for the format of these files",
    },
)
ARCHIVES = {FLASHBN.source: FLASHBN}


def facts(zoo: Archive) -> Iterator[Record]:
    """Yield the columns of each model of a zoo, `id` among them: what its card states, and the archive's commit, size and hash.

    Raises UsageError where the Hub cannot be reached or has no such repo, DataError where the file is no archive or holds no model.
    """
    revision, size, sha256 = _described(zoo.place)
    names = _members(zoo.place, revision)
    found = {match["name"]: (member, match) for member in names if (match := zoo.members.fullmatch(member))}
    if not found:
        raise DataError(f"{zoo.place.repo}: {zoo.place.file} holds no model by the names that its card states ({len(names)} members)")
    for name, (member, match) in sorted(found.items()):
        yield {
            **zoo.facts,
            **_stated(zoo, match["data"], match["attack"]),
            "id": f"{zoo.source}/{name}",
            "source": zoo.source,
            "name": name,
            "hub_id": zoo.place.repo,
            "revision": revision,
            "weights_url": address_of(zoo.place, revision),
            "archive_member": member,
            "weights_size": size,
            "hash_algorithm": "sha256" if sha256 else None,
            "weights_hash": sha256,
            "hash_of": "file" if sha256 else None,
            "integrity": "full" if sha256 else "none",
        }


def _stated(zoo: Archive, data: str, attack: str) -> Record:
    """What the card states of one model; a folder whose attack is none of the card's keeps its own name as the poison's."""
    word = re.sub(r"[^a-z0-9]", "", attack.lower())
    known = next((zoo.attacks[name] for name in sorted(zoo.attacks, key=len, reverse=True) if word.startswith(name)), None)
    dataset = next((facts for name, facts in zoo.datasets.items() if data.lower().startswith(name)), None)
    notes = ["the images with the trigger are in poisoned_test.npz beside the weights, true labels included"]
    if dataset is None:
        notes.append(f"the folder's name gives the dataset {data!r}, which the card does not state")
    if known is None:
        notes.append(f"the folder's name gives the attack {attack!r}, which the card does not state")
    else:
        notes += [f"{known.share:.1%} of the training images were poisoned, all-to-one", *([known.note] if known.note else [])]
    poison = known.poison if known is not None else word[:40]
    return {**(dataset or {"backdoor_target": None}), "backdoor": poison, "notes": "; ".join(notes)}


def _described(place: Place) -> tuple[str, int | None, str | None]:
    """The repo's commit, the archive's size and sha256, as the Hub says them."""
    from huggingface_hub import HfApi

    info = _asked(place, lambda: HfApi().model_info(place.repo, files_metadata=True))
    file = next((one for one in info.siblings or () if one.rfilename == place.file), None)
    if file is None or info.sha is None:
        raise UsageError(f"{place.repo}: there is no {place.file} (any more)")
    return info.sha, file.size, file.lfs.sha256 if file.lfs else None


def _members(place: Place, revision: str) -> list[str]:
    """The names of an archive's members, read from its directory by ranges."""
    from huggingface_hub import HfFileSystem

    def read() -> list[str]:
        files = HfFileSystem(skip_instance_cache=True)
        opened: IO[bytes] = files.open(f"{place.repo}@{revision}/{place.file}", block_size=BLOCK, cache_type="readahead")
        with opened, zipfile.ZipFile(opened) as archive:
            return archive.namelist()

    try:
        names: list[str] = _asked(place, read)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, EOFError) as error:  # whatever a damaged file makes of it
        raise DataError(f"{place.repo}: {place.file} is no zip archive ({error})") from error
    return names


def _asked(place: Place, call: Any) -> Any:
    """The answer of a call of the Hub's client; what it raises is said in one line."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    from securitynet.hub.errors import Trouble

    try:
        return call()
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError, FileNotFoundError) as error:
        raise Trouble.of(error).explained(place.repo, None) from error
