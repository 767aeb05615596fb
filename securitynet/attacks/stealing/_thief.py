"""The thief: asks the target about images of a pool, once each, and makes copies from what it learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securitynet.attacks.stealing import Copy, LabelledPool, StealingEvidence
from securitynet.attacks.stealing._answers import learnt
from securitynet.attacks.stealing._copier import Copier, Settings, sha256_of
from securitynet.attacks.stealing._detection import LONGEST, estimates, flattened
from securitynet.attacks.stealing._pools import HALF, Pool, Positions, check, evaluation_split, pool_of
from securitynet.attacks.stealing._reading import read
from securitynet.attacks.stealing._surrogates import features_of
from securitynet.attacks.stealing._transfer import made_up, transfer
from securitynet.data import Split, Splits
from securitynet.errors import Skipped, UsageError
from securitynet.metrics.intervals import Estimate
from securitynet.target import Outputs, Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Settings", "Thief"]
BATCH = 256
USED = 4000  # test images that ordinary users send
VALUES = 2**28  # of the pixels that the owner of the pool's labels trains on


@dataclass(frozen=True, eq=False)
class Thief:
    """What an attacker has: the target's answers, a pool of images, devices. `answered` holds log-probabilities by position.

    Answers, trained weights and the copies' answers are in the target's cache, so an interrupted attack goes on where it
    stopped and never asks the same again. `counted` counts the images asked that are not of the pool,
    `sent` holds the first of these.
    """

    target: Target
    pool: Pool
    test: Split
    seed: int
    accelerator: Accelerator
    settings: Settings
    answered: dict[int, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    counted: list[int] = field(default_factory=list, repr=False)
    sent: list[tuple[Tensor, NDArray[np.int64]]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, target: Target, splits: Splits, accelerator: Accelerator, settings: Settings) -> Thief:
        """Return the thief with the pool that `settings` names. Raises Skipped where the images for it are not there."""
        test = evaluation_split(splits, settings.pool)
        if len(test) < 2 or len(test.transform.input_size) != 3:
            raise Skipped("model stealing needs at least two test images [c, h, w]")
        query(target, test, accelerator)  # now, not after the training: an interrupted attack never asks again
        root = Copier(target, accelerator, settings, splits.seed).root
        return cls(target, pool_of(settings.pool, splits, settings.pool_size, root), test, splits.seed, accelerator, settings)

    @cached_property
    def copier(self) -> Copier:
        """What trains the copies."""
        return Copier(self.target, self.accelerator, self.settings, self.seed)

    @property
    def queries(self) -> int:
        """Images that the target was asked about, each counted once; those of the evaluation are not queries."""
        return len(self.answered) + sum(self.counted)

    def sizes(self, budgets: Sequence[int]) -> list[int]:
        """Return the budgets by size, each once, the whole pool for those beyond it.

        Of a pool smaller than all of them an eighth, a quarter, the half and the whole, so that there is a curve. Raises
        UsageError for a budget below two, Skipped for such a pool.
        """
        whole = len(self.pool)
        if not budgets or min(budgets) < 2:
            raise UsageError(f"stealing: budgets {list(budgets)} must be at least two queries each")
        if whole < 2:
            raise Skipped(f"needs at least two images to ask about, the pool has {whole}")
        if len(budgets) > 1 and min(budgets) > whole:
            budgets = [max(2, whole // part) for part in (8, 4, 2, 1)]
        return sorted({min(budget, whole) for budget in budgets})

    def add_queries(self, count: int) -> None:
        """Count images that were asked past this object."""
        self.counted.append(count)

    def probabilities(self, positions: Positions) -> NDArray[np.float64]:
        """Return the target's probabilities [m, k] for images of the pool; only those not asked before are asked."""
        return np.exp(self._known(positions))

    def classes(self, positions: Positions) -> NDArray[np.int64]:
        """Return the classes int64 [m] that the target returned for images of the pool."""
        return np.asarray(self._known(positions).argmax(axis=1))

    def answer(self, positions: Positions) -> Tensor:
        """Return what the target tells about images of the pool: labels int64 [m] or probabilities float32 [m, k]."""
        return learnt(self._known(positions), self.settings.answers)

    def ask(self, images: Tensor) -> Outputs:
        """Return the target's outputs for made-up images uint8 [m, c, h, w]; every one counts as a query."""
        self.add_queries(len(images))
        outputs = self._asked(made_up(images))
        self.note(images, outputs.predictions)
        return outputs

    def note(self, images: Tensor, classes: NDArray[np.int64]) -> None:
        """Keep the first queries that are not of the pool, uint8 [m, c, h, w], with the classes returned, for the detector."""
        if sum(len(one) for one, _ in self.sent) < LONGEST:
            self.sent.append((images[:LONGEST], classes[:LONGEST]))

    def fresh(self, repeat: int = 0) -> Target:
        """Return the surrogate as it starts: before any query."""
        return self.copier.fresh(repeat)

    def fit(self, positions: Positions, answers: Tensor, repeat: int = 0) -> Target:
        """Return a fresh surrogate trained on images of the pool and the answers to them."""
        return self.copier.fitted(self.pool.part(positions).digest, lambda: self.pool.pixels(positions), answers, repeat)

    def fit_images(self, images: Tensor, targets: Tensor, repeat: int = 0) -> Target:
        """Return a fresh surrogate trained on images [m, c, h, w], uint8 or floats in [0,1], and what is to be answered."""
        return self.copier.fitted(sha256_of(images), lambda: images, targets, repeat)

    def outputs(self, copy: Target, positions: Positions | None = None) -> Outputs:
        """Return a surrogate's outputs on images of the pool, or on the evaluation's (None)."""
        return query(copy, self.test if positions is None else self.pool.part(positions), self.accelerator)

    @torch.inference_mode()
    def features(self, copy: Target, positions: Positions) -> NDArray[np.float32]:
        """Return what goes into a surrogate's last linear layer, float32 [m, d]."""
        device, module = self.accelerator.device, copy.module.to(self.accelerator.device).eval()
        part = self.pool.part(positions)
        chunks = [np.arange(start, min(start + BATCH, len(part))) for start in range(0, len(part), BATCH)]
        return torch.cat([features_of(module, part.pixels(chunk).to(device)).float().cpu() for chunk in chunks]).numpy()

    def steal(self, positions: Positions) -> Copy:
        """Ask about images of the pool and return the copies trained on the answers, beside them the control on true labels."""
        learned, tried = read(self, positions)
        repeats = range(self.settings.repeats)
        copies = [self.fit(positions, learned, repeat) for repeat in repeats]
        controls = [self.fit(positions, self.labels(positions), repeat) for repeat in repeats] if self.pool.labelled else None
        found = self.copy_of(len(positions), copies, self.copier.images_seen(len(positions)), controls)
        return replace(found, tried=tried, frozen=self._frozen(positions))

    def labels(self, positions: Positions) -> Tensor:
        """Return the true labels int64 [m] of images of the pool."""
        return torch.from_numpy(self.pool.split.labels[positions].astype(np.int64))

    def copy_of(self, budget: int, copies: Sequence[Target], images_seen: int, controls: Sequence[Target] | None = None) -> Copy:
        """Return what `copies` trained with `budget` queries, and the controls, answer on the evaluation's images."""
        beside = None if controls is None else self._stacked(controls)
        return Copy(budget, images_seen, self._stacked(copies), beside, tuple(copies))

    def evidence(self, copies: Sequence[Copy], positions: Positions | None = None, *, has_pool: bool = True) -> StealingEvidence:
        """Return the evidence of a curve. `positions`: all that was asked of the pool, in the order of the nested budgets.

        `has_pool`: whether the attack uses images of the pool at all; one that does not is compared with no owner of them.
        """
        budgets = tuple(copy.budget for copy in copies)
        if positions is not None:
            check(self.pool.part(positions), self.test, budgets)
        return StealingEvidence(
            query(self.target, self.test, self.accelerator),
            tuple(copies),
            self._stacked([self.fresh(repeat) for repeat in range(self.settings.repeats)]),
            self.queries,
            self._manifest(positions),
            self.seed,
            (*self._transferred(copies[-1]), *self._noticed(positions)),
            f"the queries are {HALF}, the evaluation is on the other" if self.pool.split.name == HALF else None,
            self._undefended(),
            self._labelled_pool(copies[-1].budget) if has_pool else None,
            None if self.settings.price is None else self.settings.price / 1000,
        )

    def _noticed(self, positions: Positions | None) -> tuple[Estimate, ...]:
        """After how many queries the one who serves the model would notice, in the order in which they were sent."""
        first = np.empty(0, np.int64) if positions is None else positions[:LONGEST]
        sent = [(self.pool.pixels(first), self.classes(first))] if len(first) else []
        sent += [(images, classes) for images, classes in self.sent]
        if not sent:
            return ()
        images = torch.cat([one for one, _ in sent])[:LONGEST]
        classes = np.concatenate([one for _, one in sent])[:LONGEST]
        users = np.random.default_rng(self.seed).permutation(len(self.test))[:USED]
        said = self.outputs(self.target).predictions[users]
        return tuple(estimates(flattened(images), classes, flattened(self.test.pixels(users)), said, self.seed))

    def _stacked(self, surrogates: Sequence[Target]) -> NDArray[np.float32]:
        """What surrogates return on the evaluation's images, float32 [surrogates, n, k]."""
        return np.stack([self.outputs(one).logits for one in surrogates])

    def _undefended(self) -> Outputs | None:
        """What a defended target would return without its defences, on the evaluation's images; the attacker never sees it."""
        if self.target.undefended is None:
            return None
        return query(replace(self.target.undefended, cache=self.target.cache, split_outputs={}), self.test, self.accelerator)

    def _labelled_pool(self, budget: int) -> LabelledPool | None:
        """The control of one who owns the pool's labels: all of it, where that fits into memory, else as much as the largest budget."""
        if not self.settings.pool_control or not self.pool.labelled:
            return None
        most = max(budget, VALUES // math.prod(self.test.transform.input_size))
        positions = self.pool.order(self.seed)[:most]
        owner = self.copier.over(len(positions))
        content, labels = self.pool.part(positions).digest, self.labels(positions)
        trained = [owner.fitted(content, lambda: self.pool.pixels(positions), labels, repeat) for repeat in range(self.settings.repeats)]
        return LabelledPool(len(positions), len(self.pool), self._stacked(trained))

    def _frozen(self, positions: Positions) -> NDArray[np.float32] | None:
        """Heads on frozen public features, trained on the same images with true labels; None where no features are named."""
        if self.settings.public is None or not self.pool.labelled:
            return None
        copier = replace(self.copier, settings=replace(self.settings, surrogate=f"frozen:{self.settings.public}", surrogate_args=None))
        content, labels = self.pool.part(positions).digest, self.labels(positions)
        heads = [copier.fitted(content, lambda: self.pool.pixels(positions), labels, one) for one in range(self.settings.repeats)]
        return self._stacked(heads)

    def _transferred(self, copy: Copy) -> tuple[Estimate, ...]:
        """Return how adversarial images made on the first surrogate of a copy fare on the target; not counted as its queries."""
        if self.settings.transfer is None:
            return ()
        found = transfer(copy.surrogates[0], self.target, self.test, self.accelerator, self.settings.transfer, self.seed)
        return tuple(found.estimates())

    def _manifest(self, positions: Positions | None) -> Mapping[str, np.ndarray]:
        asked = {} if positions is None else {"query_indices": self.pool.split.indices[positions]}
        parts = {"query_images": self.pool.split.images.fingerprint, "test_images": self.test.images.fingerprint}
        return {**asked, "test_indices": self.test.indices, **{name: np.asarray(value) for name, value in parts.items()}}

    def _known(self, positions: Positions) -> NDArray[np.float64]:
        """Return log-probabilities [m, k], asking about what is not known yet."""
        wanted = np.asarray([position for position in positions.tolist() if position not in self.answered], np.int64)
        if len(wanted):
            self.answered.update(zip(wanted.tolist(), self._asked(self.pool.part(wanted)).log_probabilities, strict=True))
        return np.stack([self.answered[position] for position in positions.tolist()])

    def _asked(self, part: Split) -> Outputs:
        outputs = query(self.target, part, self.accelerator, blanks=False)
        if not outputs.finite:
            raise Skipped("the model's outputs are not finite")
        return outputs
