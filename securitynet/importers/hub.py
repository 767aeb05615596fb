"""catalog add --from-hub: the record of a model repo, from what the Hub knows of it; its weights are not downloaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.entry import Entry, pin
from securitynet.errors import DownloadError, UsageError
from securitynet.importers.onhub.pins import ADDRESS, COLUMNS, place_of
from securitynet.maintenance import records
from securitynet.maintenance.records import Record

if TYPE_CHECKING:
    from securitynet.download import Files

SAFE = "model.safetensors"
WANTED = {  # what a record should say, and in which column
    "dataset": "key of the image dataset (see config datasets)", "claimed_accuracy": "accuracy that the publisher states, as a fraction",
    "claimed_split": "split of that accuracy", "claim_source": "where it is stated", "family": "architecture family",
    "licence": "licence of the weights", "purpose": "benchmark, security or other", "train_size": "images it was trained on",
    "threat_model": "`none` for standard training", "paper_url": "link to its paper",
}  # fmt: skip
PIN = "securitynet catalog pin reads commit and hash of the file that the record names"


def add_from_hub(name: str, catalog: Path, files: Files) -> tuple[Entry, list[str]]:
    """Write the record of `ORG/NAME[@revision]`; return it, and which facts it still lacks, as sentences.

    Where a model of the catalog has this repo, its record is completed: it keeps what it says, only null columns are filled, and its
    pin stays as a whole unless a revision is given, or is set as a whole. Another repo gets a record in models/ORG.jsonl.
    Raises UsageError, DownloadError, LoadError.
    """
    entry = described(name, files)
    known = _known(entry, catalog)
    if known is None:
        path, old = catalog / "models" / f"{entry.source}.jsonl", {}
    else:
        path, old = catalog / "models" / f"{known['source']}.jsonl", known
        entry = replace(entry, id=old["id"], source=old["source"], name=old["name"])
    written = Entry.from_record(_completed(old, entry.to_record(), "@" in name))
    lines = [written.to_record() if record["id"] == written.id else record for record in records.read(path)]
    if known is None:
        lines = sorted([*lines, written.to_record()], key=lambda record: str(record["id"]))
    records.write_changed(path, records.text_of(lines))
    missing = [f"{column}: {words}" for column, words in WANTED.items() if getattr(written, column) is None]
    return written, missing + ([f"pin: {PIN}"] if written.pin != "pinned" else [])


def _known(entry: Entry, catalog: Path) -> Record | None:
    """The record that has the repo of an entry, whatever its source. Raises UsageError where several have."""
    paths = sorted((catalog / "models").glob("*.jsonl"))
    found = [record for path in paths for record in records.read(path) if entry.hub_id in (record["hub_id"], _repo(record))]
    if len(found) > 1:
        same = [record for record in found if record["weights_file"] == entry.weights_file]
        if len(same) != 1:
            some = ", ".join(record["id"] for record in found[:3])
            raise UsageError(f"{entry.hub_id}: {len(found)} models of the catalog are in it ({some}, ...); use securitynet catalog pin")
        found = same
    return found[0] if found else None


def _repo(record: Record) -> str | None:
    place = place_of(record)
    return place.repo if place else None


def _completed(old: Record, new: Record, given: bool) -> Record:
    """The old record with its null columns filled. What belongs to a pin comes from one of the two as a whole."""
    both = {**new, **{column: value for column, value in old.items() if value is not None}}
    if not old:
        return both
    other = old["weights_file"] not in (None, new["weights_file"])  # the entry is about another file of the repo
    kept = old if other or (pin(old) == "pinned" and not given) else new
    return {**both, **{column: kept[column] for column in (*COLUMNS, *ADDRESS)}}


def described(name: str, files: Files) -> Entry:
    """Return the entry of a repo as a record of the catalog: pinned, with size, hash and parameters of its safetensors file."""
    from securitynet.loaders._local import from_hub

    if name.count("/") != 1:
        raise UsageError(f"{name!r} is no repo; give ORG/NAME or ORG/NAME@revision")
    entry = from_hub(name, {}, files)
    organisation, _, repo = (entry.hub_id or "").partition("/")
    facts = _of_weights(entry)
    reason = "the record was made from the repo's config, card and safetensors header; the weights were not opened"
    return replace(
        entry, id=f"{organisation}/{repo}", source=organisation, name=repo, weights_format="safetensors", loadable_reason=reason, **facts
    )


def _of_weights(entry: Entry) -> dict[str, Any]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

    api, repo = HfApi(), entry.hub_id or ""
    try:
        siblings = api.model_info(repo, revision=entry.revision, files_metadata=True).siblings or []
        header = api.get_safetensors_metadata(repo, revision=entry.revision)
    except (HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError, OSError) as error:
        raise DownloadError(f"{repo}: no safetensors file that the Hub can describe ({' '.join(str(error).split())[:120]})") from error
    file = next((one for one in siblings if one.rfilename == (entry.weights_file or SAFE)), None)
    facts: dict[str, Any] = {"weights_file": entry.weights_file or SAFE, "params": entry.params or _parameters(header)}
    facts["weights_url"] = f"https://huggingface.co/{repo}/resolve/{entry.revision}/{facts['weights_file']}"
    if file is not None and file.lfs is not None:
        facts |= {"weights_size": file.lfs.size, "hash_algorithm": "sha256", "weights_hash": file.lfs.sha256, "hash_of": "file"}
        facts["integrity"] = "full"
    return facts


def _parameters(header: Any) -> int:
    """The numbers in the file that are no statistics of batch norms: a few networks keep other buffers too, as `check` then says."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    tensors = [item for file in header.files_metadata.values() for item in file.tensors.items()]
    return sum(info.parameter_count for name, info in tensors if not name.endswith(statistics))
