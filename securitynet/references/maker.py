"""Makes reference models and their outputs where they are missing, and keeps both in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from securitynet.cache import ArrayCache, digest
from securitynet.entry import Entry
from securitynet.fingerprint import fingerprint, shapes_of
from securitynet.references.fit import Job, Workshop
from securitynet.references.networks import blueprint, create, logits_of
from securitynet.references.pool import Pool

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.references import ReferenceSettings

Change = Callable[[nn.Module], nn.Module]
Logits = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Maker:
    """The models of one pool and one `settings`; weights lie under a job's key, outputs under that key and the change."""

    pool: Pool
    settings: ReferenceSettings
    accelerator: Accelerator
    cache: ArrayCache
    change: Change | None = None

    def job(self, index: int, held: NDArray[np.bool_]) -> Job:
        """Return model `index`, trained on the samples `held` bool [n]; its key covers everything that decides its weights.

        Its seed is no small number: with the seed of the model under test it would start from the same weights.
        """
        recipe = replace(self.settings.recipe, seed=int(digest("reference model", self.settings.seed, index)[:7], 16))
        network = self.settings.architecture, self.settings.architecture_args
        key = digest("reference model", self.pool.key, network, asdict(recipe), self.settings.seed, index)
        return Job(index, key, torch.from_numpy(np.flatnonzero(held)), recipe)

    def known(self, job: Job) -> Logits | None:
        """Return the outputs [n, classes] where they are in the cache."""
        stored = self._shelf.get(self._answers_key(job))
        return stored.get("logits") if stored else None

    def made(self, jobs: Sequence[Job], progress: bool | None = None) -> dict[int, Logits]:
        """Return the outputs of `jobs` by index: of stored networks where there are some, else of networks trained now."""
        stored = {job.index: network for job in jobs if (network := self._stored(job)) is not None}
        found = {job.index: self._answered(job, stored[job.index]) for job in jobs if job.index in stored}
        for job, network in self._workshop().trained([job for job in jobs if job.index not in stored], progress=progress):
            weights = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
            self._shelf.put(job.key, weights, kind="reference model", images=self.pool.members.name)
            found[job.index] = self._answered(job, network)
        return found

    def network(self, job: Job) -> nn.Module:
        """Return the network of `job`, trained now where it is not stored."""
        network = self._stored(job)
        return network if network is not None else next(one for _, one in self._workshop().trained([job], progress=None))

    def _workshop(self) -> Workshop:
        folder = self.cache.directory / "training" if self.cache.directory else None
        return Workshop(self._record, self.pool, self.accelerator, folder)

    def _stored(self, job: Job) -> nn.Module | None:
        network = create(self._record, 0)
        weights = self._shelf.get(job.key, shapes_of(network))
        if weights is None:
            return None
        network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        return network

    def _answered(self, job: Job, network: nn.Module) -> Logits:
        asked = network if self.change is None else self.change(network)
        logits: Logits = logits_of(asked, self.pool.images, self.accelerator.device).numpy()
        self._shelf.put(self._answers_key(job), {"logits": logits}, kind="outputs of a reference model")
        return logits

    def _answers_key(self, job: Job) -> str:
        return digest(job.key, "answers", None if self.change is None else fingerprint(self.change(nn.Identity())))

    @property
    def _record(self) -> Entry:
        return blueprint(self.settings.architecture, self.settings.architecture_args, self.pool.input_size, self.pool.classes)

    @property
    def _shelf(self) -> ArrayCache:
        """What lies on disk is not kept in memory as well."""
        return ArrayCache(self.cache.directory) if self.cache.directory else self.cache
