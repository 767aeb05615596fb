"""evaluate(): one call from a model's name to its rows."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from securitynet.arguments import checked, one_of
from securitynet.attacks.intact import Intact
from securitynet.attacks.resolve import Named, named, resolve
from securitynet.attacks.run import FULL, Ran, not_run, not_stored, run, spoiled
from securitynet.cache import ArrayCache, cache_root, digest, size_limit
from securitynet.controls.measured import Controls
from securitynet.controls.twins import Twins, without_canaries, without_twins
from securitynet.data import DEFAULT_SAMPLES, Split, Splits, draw
from securitynet.data.prepared import FOLDER, Kept, PixelStore
from securitynet.data.transform import Transform
from securitynet.entry import columns
from securitynet.errors import UsageError
from securitynet.inputs import DATA, MODEL, MODELS, Attacks, Data, Defences, Model, Options, defended, images_of, target_of
from securitynet.memory import PeakMemory
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import ACCURACY, BY_COINS, QUERIES
from securitynet.precision import check, faster
from securitynet.precision import named as precision
from securitynet.processes import agreed
from securitynet.results.headline import doubtful
from securitynet.results.result import Result
from securitynet.results.robustness import checked_claims, doubted, published_on
from securitynet.results.row import Context, Row, suspect
from securitynet.results.separation import OUT_MODEL
from securitynet.results.store import RowStore
from securitynet.target import Outputs, Target, query, to_send
from securitynet.verify import verify

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.entry import Entry

log = logging.getLogger(__name__)
JOURNAL = "bill.jsonl"  # of what the evaluation sent, beside its rows
LIBRARIES = ("securitynet", "accelerate", "numpy", "pyautoattack", "scikit-learn", "scipy", "timm", "torch", "torchvision", "transformers")


@checked(model=MODEL, data=DATA, preprocessing=columns, out_model=one_of("a model, as the first argument, or None", *MODELS, none=True))
def evaluate(
    model: Model,
    data: Data | None = None,
    attacks: Attacks = "standard",
    *,
    preprocessing: Mapping[str, Any] | None = None,
    defences: Defences = (),
    seed: int = 0,
    samples: int | None = DEFAULT_SAMPLES,
    batch_size: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: bool = False,
    out_model: Model | None = None,
    dtype: str = "fp32",
    channels_last: bool = False,
    overwrite: Literal["only-missing", "always", "never"] = "only-missing",
    python: str | os.PathLike[str] | None = None,
) -> Result:
    """Verify a model, attack it, and return the rows.

    `model`: an id of the catalog, a local file or folder, "hf-hub:ORG/NAME", an Entry, a Target, an Endpoint (or a .toml file
    that describes one) or a torch module (then
    `preprocessing` gives the columns of its entry: input_size, mean, std, ..., and `data` the images).
    `data`: a path, a Hub id, an ImageSet, or arrays x_train, y_train, x_test, y_test (uint8, NHWC or NHW); by default the
    dataset that the entry names. `attacks`: names, suites, globs, paths to .py files, Attack objects. `defences`: names
    (`rounding:2`), Target -> Target, or paths to files that define one. `samples` caps members and non-members (None: all).
    `out_model`: a model like this one that was not trained on these images; a leak is what exceeds the same attacks on it. By
    default two small networks are trained for that, where the images are small and an attack found something. `dtype` (fp32, bf16
    or fp16) and `channels_last` change precision and memory layout on a GPU; the column `device` records them.
    `python`: the Python of an environment with the model's own library, in which it is built then (docs/other-environments.md).
    What was computed before, with the same weights, data and code, is read from the cache (`overwrite="only-missing"`); "always" runs
    the attacks again, "never" runs nothing and reads what is stored, the other attacks being skipped. Raises SecurityNetError.
    """
    chosen = named(resolve(attacks))
    options = Options(cache_root(cache_dir), seed, samples, batch_size, offline, progress, dtype, channels_last, overwrite, _path(python))
    subject = Subject.of(model, data, preprocessing, defences, options)
    if out_model is not None:
        other = target_of(out_model, None, options)
        subject = replace(subject, out_model=(other.entry.id, replace(other, cache=subject.target.cache, split_outputs={})))
    return subject.evaluated(chosen)


@checked(model=MODEL, data=DATA, preprocessing=columns)
def verify_model(
    model: Model,
    data: Data | None = None,
    *,
    preprocessing: Mapping[str, Any] | None = None,
    seed: int = 0,
    samples: int | None = DEFAULT_SAMPLES,
    batch_size: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: bool = False,
    python: str | os.PathLike[str] | None = None,
) -> Result:
    """Return the result of the first step of evaluate() alone, without attacks; arguments as there."""
    options = Options(cache_root(cache_dir), seed, samples, batch_size, offline, progress, python=_path(python))
    return Subject.of(model, data, preprocessing, (), options).evaluated(())


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


@dataclass(frozen=True, eq=False)
class Subject:
    """A target, its splits and the devices: all that an evaluation works on."""

    target: Target
    splits: Splits
    accelerator: Accelerator
    options: Options
    twins: Twins | None = None
    out_model: tuple[str, Target] | None = None

    @classmethod
    def of(
        cls,
        model: Model,
        data: Data | None,
        preprocessing: Mapping[str, Any] | None,
        defences: Defences,
        options: Options,
    ) -> Subject:
        """Load the model, wrap it in the defences, read the images, draw the splits."""
        from accelerate import Accelerator

        accelerator = Accelerator()
        check(options.dtype, options.channels_last, accelerator.device)
        target = faster(target_of(model, preprocessing, options), options.dtype, options.channels_last)
        for defence in [defences] if isinstance(defences, str | os.PathLike) or callable(defences) else defences:
            target = defended(target, defence)
        target = replace(target, cache=ArrayCache(options.root / "outputs", size_limit()), split_outputs={})
        images = images_of(data, target, options)
        pixels = Kept(Transform.of(target.entry), PixelStore(options.root / FOLDER, size_limit()))
        splits = draw(images, pixels, target.num_classes, options.seed, options.samples)
        splits = without_canaries(splits, target.folder, pixels)
        splits, twins = without_twins(splits, target.cache)
        return cls(target, splits, accelerator, options, twins)

    def evaluated(self, attacks: Sequence[Named], guard: Callable[[], str | None] = lambda: None) -> Result:
        """Query the model once, verify it, run the attacks; return everything.

        `guard` is called after each attack that is none of this package's; it returns what the attack changed for those after it.
        """
        target, splits, accelerator = self.target, self.splits, self.accelerator
        context = self._context()
        place = digest(context.entry, target.fingerprint, context.dataset, context.manifest)
        folder = self.options.root / "results" / place
        store = RowStore(folder)
        target.meter.keep(folder / JOURNAL)
        if self.options.overwrite == "never" and (count := self._to_ask()):
            raise UsageError(f"{context.entry}: overwrite='never', and the outputs for {count} images are not stored; use only-missing")
        self._announce(attacks)
        outputs, rows = self._ask(context, store)
        verdict = verify(target, splits, accelerator)
        verdict = replace(verdict, notes=(*splits.notes, *verdict.notes))
        rows += [context.row("verify", "verify", estimate) for estimate in verdict.estimates]
        done = _Attacks(self, context, store, guard)
        found = [row for attack in attacks for row in done.rows(attack)]
        controls = self._controls(context, store, found, attacks, done.spoiled)
        doubt = doubtful([*found, *controls], store.evidence.values())
        rows += [
            suspect(row, doubt) if doubt and row.family == "membership" and row.metric not in BY_COINS else row
            for row in (*controls, *found)
        ]
        rows = doubted(rows)
        checked = checked_claims(target.entry.id, rows, published_on(target.entry.dataset)) if _evades(attacks) else []
        verdict = replace(verdict, notes=(*verdict.notes, *map(str, checked)))
        if verdict.cause:
            rows = [suspect(row, verdict.cause) for row in rows]
        bill, unexpected = target.meter.bill, tuple(done.unexpected)
        return Result(target.entry, tuple(rows), verdict, splits, outputs, store.evidence, bill, unexpected, done.spoiled)

    def keep(self, store: RowStore, key: str, rows: Sequence[Row], arrays: Mapping[str, np.ndarray]) -> None:
        """Store rows. A full disk ends an evaluation, but not that of an endpoint, which would have to be queried again."""
        if not self.accelerator.is_main_process:
            return
        try:
            store.put(key, rows, arrays)
        except OSError as error:
            if error.errno not in FULL or not self.target.remotes:
                raise
            if not store.given_up:
                log.warning("%s: rows are no longer kept there, the run goes on without: %s", store.directory, error)
            store.given_up = True

    def _parts(self) -> dict[str, Split]:
        """The splits that all families read, those that are there."""
        splits = {name: getattr(self.splits, name) for name in ("members", "non_members", "test")}
        return {name: part for name, part in splits.items() if part is not None and len(part)}

    def _distinct(self) -> list[Split]:
        """The shared splits, those of the same images once."""
        return list({part.digest: part for part in self._parts().values()}.values())

    def _to_ask(self) -> int:
        return sum(to_send(self.target, part) for part in self._distinct())

    def _ask(self, context: Context, store: RowStore) -> tuple[dict[str, Outputs], list[Row]]:
        """Query every shared split; the pass is one row, written when it ran and read afterwards.

        It counts the images that these rows rest on, whether or not another run had queried some of them before.
        """
        asked, start, options = self._to_ask(), time.perf_counter(), self.options
        with PeakMemory(self.accelerator.device) as memory:
            outputs = {
                name: query(self.target, part, self.accelerator, batch_size=options.batch_size, progress=options.progress)
                for name, part in self._parts().items()
            }
        key = store.key("query", "{}", context.seed, "")
        if not asked and (stored := store.get(key)) is not None:
            return outputs, stored
        count = sum(len(part) for part in self._distinct())
        row = context.row("verify", "query", Estimate(QUERIES, float(count), count))
        row = replace(row, queries=count, seconds=time.perf_counter() - start, peak_memory=memory.peak)
        self.keep(store, key, [row], {})
        return outputs, [row]

    def _controls(
        self, context: Context, store: RowStore, found: Sequence[Row], attacks: Sequence[Named], spoiled: str | None
    ) -> list[Row]:
        """Return the rows of the controls of membership inference, where something was found about it.

        After an attack that spoiled what all share, nothing is measured.
        """
        if spoiled and any(row.family == "membership" and row.value is not None for row in found):
            reason = f"not measured: an attack changed {spoiled}"
            return [context.row("verify", OUT_MODEL, Estimate(ACCURACY, None, 0, reason=reason))]
        shared = self.options.root / "results"
        controls = Controls(self.target, self.splits, self.accelerator, context, store, shared, self.keep, self.twins, self.out_model)
        return controls.rows(found, attacks)

    def _announce(self, attacks: Sequence[Named]) -> None:
        """Log what will run, and about how long asking the model takes (a short measurement; none where all is cached)."""
        families: dict[str, dict[str, None]] = {}
        for attack in attacks:
            families.setdefault(attack.family, {})[attack.name.partition("/")[2]] = None
        names = "; ".join(["verify", *(f"{family}: {', '.join(found)}" for family, found in families.items())])
        to_ask = self._to_ask()
        if not to_ask:
            log.info("will run %s on %s (all outputs are cached)", names, self.splits.dataset)
            return
        if self.target.remotes:  # a measurement would be sent, too
            log.info("will run %s on %s: %d queries", names, self.splits.dataset, to_ask)
            return
        seconds = max(1.0, seconds_per_image(self.target, self.accelerator) * to_ask / self.accelerator.num_processes)
        log.info("will run %s on %s: %d queries, about %.0f s", names, self.splits.dataset, to_ask, seconds)

    def _context(self) -> Context:
        device, splits = self.accelerator.device, self.splits
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        name += precision(self.options.dtype, self.options.channels_last)
        versions = {library: found for library in LIBRARIES if (found := _version(library))}
        pixels = Transform.of(self.target.entry)
        return Context(
            pinned(self.target.entry),
            self.target.weights_sha256 or None,
            splits.dataset,
            splits.revision,
            splits.manifest,
            splits.seed,
            name,
            self.accelerator.num_processes,
            json.dumps(versions, sort_keys=True, separators=(",", ":")),
            pixels.id,
            pixels.description,
        )


class _Attacks:
    """Runs one attack after the other on a subject, as long as they leave alone what they share."""

    def __init__(self, subject: Subject, context: Context, store: RowStore, guard: Callable[[], str | None]) -> None:
        self._subject, self._context, self._store, self._guard = subject, context, store, guard
        self._intact = Intact(subject.target, subject.splits)
        self._culprit = ""
        self.unexpected: list[str] = []
        self.spoiled: str | None = None

    def rows(self, attack: Named) -> list[Row]:
        """Return the rows of an attack: from the store where it has run before with the same code, else by running it.

        One that failed is tried again next time, and one that was skipped for want of a budget or of images.
        """
        key = self._store.key(attack.name, attack.params, self._subject.splits.seed, attack.code)
        overwrite = self._subject.options.overwrite
        stored = None if overwrite == "always" else agreed(self._store.get(key), self._subject.accelerator)
        if stored is not None:
            return stored
        ran = not_stored(attack) if overwrite == "never" else self._ran(attack)
        rows = rows_of(ran, self._context)
        if ran.unexpected:
            self.unexpected.append(attack.name)
        if ran.settled:
            self._subject.keep(self._store, key, rows, ran.arrays)
        return rows

    def _ran(self, attack: Named) -> Ran:
        if self._culprit:
            return not_run(attack, self._culprit)
        subject = self._subject
        (ran,) = run([attack], subject.target, subject.splits, subject.accelerator)
        foreign = not attack.attack.__module__.startswith("securitynet.")
        self.spoiled = _said(self._intact.broken() or (self._guard() if foreign else None), subject.accelerator)
        if self.spoiled is None:
            return ran
        self._culprit = attack.name
        return spoiled(attack, self.spoiled)


def rows_of(ran: Ran, context: Context) -> list[Row]:
    """Return the rows of an attack that was run."""
    rows = [context.row(ran.family, ran.name, estimate, ran.params) for estimate in ran.estimates]
    if ran.status != "ok":
        return [replace(row, status=ran.status) for row in rows]
    return [replace(row, queries=ran.queries, seconds=ran.seconds, peak_memory=ran.peak_memory) for row in rows]


def _evades(attacks: Sequence[Named]) -> bool:
    return any(one.family == "evasion" for one in attacks)


def _said(what: str | None, accelerator: Accelerator) -> str | None:
    """What any process found holds for all, for the same reason."""
    if accelerator.num_processes == 1:
        return what
    from accelerate.utils import gather_object

    return next((one for one in gather_object([what]) if one), None)


def pinned(entry: Entry) -> str:
    """Return the id that goes into the rows: for a repo on the Hub it names the commit."""
    if entry.source != "hf-hub" or not entry.hub_id or not entry.revision:
        return entry.id
    return entry.id.replace(entry.hub_id, f"{entry.hub_id}@{entry.revision}", 1)


def seconds_per_image(target: Target, accelerator: Accelerator, batch: int = 8) -> float:
    """Return the time of one blank image in a small batch, the best of three passes."""
    module = target.module.to(accelerator.device)
    blank = torch.zeros(batch, *(target.entry.input_size or ()), device=accelerator.device)
    passes = []
    for _ in range(3):
        start = time.perf_counter()
        with torch.inference_mode(), target.meter.sending(batch, batch):
            module(blank)
        if accelerator.device.type == "cuda":
            torch.cuda.synchronize(accelerator.device)
        passes.append(time.perf_counter() - start)
    return min(passes) / batch


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
