"""Image datasets on the Hub: what a repo holds is planned once, its files are fetched, of large parts only some row groups."""

from __future__ import annotations

import glob
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.cache import digest, replacing
from securitynet.data.columns import class_names
from securitynet.data.encoded import EncodedImages
from securitynet.data.folder import ENDINGS
from securitynet.data.hubcard import check_metadata, quiet
from securitynet.data.huberrors import explained, outage
from securitynet.data.labels import ClassOrder
from securitynet.data.request import ImageRequest
from securitynet.download.hubcache import known_file
from securitynet.errors import DataError, DownloadError

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)
COUNTED = 64  # a split of more files is large without counting


@dataclass(frozen=True)
class HubDataset:
    """A dataset repo, its configuration (None: the default) and its revision (None: the latest)."""

    id: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return self.id + (f":{self.config}" if self.config else "") + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class RepoPlan:
    """What a repo holds at a commit: files and number of rows (None: not stated) by split, class names by label column."""

    sha: str
    files: dict[str, list[str]]
    rows: dict[str, int | None]
    names: dict[str, list[str]]


def read_hub(source: HubDataset, request: ImageRequest) -> tuple[dict[str, EncodedImages | None], ClassOrder | None, str]:
    """Return the parts `train` and `test` of a dataset on the Hub, the order of its classes, and the commit.

    The fingerprint is made of repo, configuration, split, commit and the rows drawn. Raises DataError, DownloadError.
    """
    from huggingface_hub import constants

    from securitynet.data.parquet import read_parts

    request = replace(request, offline=request.offline or constants.HF_HUB_OFFLINE)
    with explained(str(source), request.offline):
        plan, request = plan_of(source, request)
        splits = request.split_names(plan.files)
        if not splits:
            raise DataError(f"{source}: its splits are {', '.join(plan.files)}; one called train or test is needed")
        files = {part: _fetched(source, plan, split, request) for part, split in splits.items()}
    prints = {
        part: digest(source.id, source.config, plan.sha, split, [file.name for file in files[part]]) for part, split in splits.items()
    }
    parts, order = read_parts(files, request, prints, plan.names)
    return parts, order, plan.sha


def _fetched(source: HubDataset, plan: RepoPlan, split: str, request: ImageRequest) -> list[Path]:
    """The Parquet files of a split on this disk: the repo's own, or one made of the rows drawn."""
    from securitynet.data.sampled import sample

    files, rows = plan.files[split], plan.rows[split]
    large = request.samples is not None and (rows is None or request.is_large(rows))
    if not large and _are_parquet(files):
        return _downloaded(source, plan.sha, files, request.offline)
    return [sample(source, plan.sha, split, files, request if large else replace(request, samples=None))]


def _are_parquet(files: Sequence[str]) -> bool:
    return all(file.endswith(".parquet") for file in files)


def _downloaded(source: HubDataset, sha: str, files: Sequence[str], offline: bool) -> list[Path]:
    """Files of a repo at a commit from the Hub's cache; those that it lacks, or holds damaged, are fetched."""
    from huggingface_hub import snapshot_download

    known = [known_file(source.id, file, sha, "dataset") for file in files]
    if all(one is not None and one.path is not None for one in known):
        return [one.path for one in known if one is not None and one.path is not None]
    patterns = [glob.escape(file) for file in files]
    folder = snapshot_download(source.id, repo_type="dataset", revision=sha, allow_patterns=patterns, local_files_only=offline)
    return [Path(folder, file) for file in files]


def plan_of(source: HubDataset, request: ImageRequest) -> tuple[RepoPlan, ImageRequest]:
    """Return the plan of a repo, and what is wanted: offline from here on where the Hub cannot be asked.

    The plan is kept in the cache, where offline runs, and those during an outage, find it.
    """
    kept = (request.cache or Path()) / "images" / f"plan-{digest(asdict(source))}.json"
    plan = _kept(kept)
    if request.offline:
        if plan is None:
            raise DataError(f"{source}: not in the cache, and this run is offline; run once without --offline, or give --data PATH")
        return plan, request
    with outage() as trouble:
        sha = plan.sha if plan is not None and plan.sha == source.revision else _commit(source)
    if trouble and plan is not None:
        log.info("%s: from the cache, at commit %s: the Hub cannot be asked (%s)", source, plan.sha[:12], trouble[0])
        return plan, replace(request, offline=True)
    if trouble:
        raise DownloadError(
            f"{source}: not in the cache, and the Hub did not answer ({trouble[0]}); check the network, or give --data PATH"
        )
    if plan is None or plan.sha != sha:
        plan = _made(source, sha)
        with replacing(kept) as part:
            part.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    return plan, request


def _kept(path: Path) -> RepoPlan | None:
    """The plan in the cache; one that cannot be read counts as none."""
    try:
        return RepoPlan(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return None


def _commit(source: HubDataset) -> str:
    """The commit that the revision means now. One question, without the client's many retries: any file's answer names it."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    try:
        found = get_hf_file_metadata(hf_hub_url(source.id, ".gitattributes", repo_type="dataset", revision=source.revision)).commit_hash
    except EntryNotFoundError:
        found = None
    return found or str(HfApi().dataset_info(source.id, revision=source.revision).sha)


def _made(source: HubDataset, sha: str) -> RepoPlan:
    """Ask `datasets` which files make up which split; all must lie in the repo."""
    import datasets

    check_metadata(source.id, sha)
    quiet(datasets.config)
    builder = datasets.load_dataset_builder(source.id, source.config, revision=sha)
    inside = f"hf://datasets/{source.id}@{sha}/"
    found = {str(split): list(map(str, paths)) for split, paths in (builder.config.data_files or {}).items()}
    if outside := next((file for paths in found.values() for file in paths if not file.startswith(inside)), None):
        raise DataError(f"{source}: its file {outside[:80]} lies outside the repo; it is not opened")
    files = {split: [file.removeprefix(inside) for file in paths] for split, paths in found.items()}
    stated: Mapping[str, Any] = builder.info.splits or {}
    rows = {split: (stated[split].num_examples if split in stated else None) or _counted(source, sha, files[split]) for split in files}
    return RepoPlan(sha, files, rows, class_names(builder.info.features))


def _counted(source: HubDataset, sha: str, files: Sequence[str]) -> int | None:
    """Rows of a split that states none: from the footers of its Parquet files, the number of image files, or unknown."""
    from securitynet.data.sampled import open_remote

    if _are_parquet(files):
        return sum(open_remote(source, sha, file).metadata.num_rows for file in files) if len(files) <= COUNTED else None
    return len(files) if all(Path(file).suffix.lower() in ENDINGS for file in files) else None
