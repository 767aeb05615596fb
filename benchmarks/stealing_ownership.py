"""The ownership test on copies and on independent models, measured.

    python benchmarks/stealing_ownership.py --target TINYVGG.pth --data FASHION-MNIST --cache DIR

Victims, references and independents have the architecture of --target and are trained on the same --images images by one recipe, each
from its own seed. Of every victim: knockoffs with few and with many queries, with labels only, of another architecture; the victim
fine-tuned on other images; pruned. The p-value is fixed beforehand: metrics/ownership.py. Prints each as it is measured, then how many
copies and independents are called copies, and the AUROC of -log p with a bootstrap over victims. A stopped run goes on (--cache).
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing._thief import Thief
from securitynet.cache import ArrayCache
from securitynet.data import draw
from securitynet.data.readers import image_set
from securitynet.data.transform import Transform
from securitynet.loaders import load_model
from securitynet.metrics.ownership import dataset_inference, fingerprint
from securitynet.ownership import LEVEL, TRAINED
from securitynet.target import Target, query
from securitynet.training import train

INDEPENDENT, REFERENCE, COPY = 100, 200, 300  # seeds from which on


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, eq=False)
class Bench:
    """The thief that trains everything, and which images are the victims' own."""

    thief: Thief
    own: NDArray[np.int64]
    others: NDArray[np.int64]
    few: int
    many: int

    def model(self, seed: int) -> Target:
        """A model trained on the victims' images with true labels."""
        return replace(self.thief.fit(self.own, self.thief.labels(self.own), seed), cache=self.thief.target.cache, split_outputs={})

    def copies(self, victim: Target, seed: int) -> Iterator[tuple[str, Target]]:
        """The copies of a victim, by kind."""
        thief = replace(self.thief, target=victim, answered={}, counted=[], sent=[])
        few, many = self.others[: self.few], self.others[: self.many]
        yield f"knockoff, {len(few):,} queries", thief.fit(few, thief.answer(few), COPY + seed)
        yield f"knockoff, {len(many):,} queries", thief.fit(many, thief.answer(many), COPY + seed)
        yield f"labels only, {len(many):,} queries", thief.fit(many, thief.answer(many).argmax(1), COPY + seed)
        other = replace(thief, settings=replace(thief.settings, surrogate="auto", surrogate_args=None))
        yield f"another architecture, {len(few):,} queries", other.fit(few, other.answer(few), COPY + seed)
        yield "fine-tuned on other images", self._changed(victim, lambda net: self._tuned(net, seed))
        yield "half of the weights pruned", self._changed(victim, pruned)

    def _changed(self, victim: Target, change: Callable[[nn.Module], None]) -> Target:
        module = copy.deepcopy(victim.module)
        change(module)
        return replace(victim, module=module.requires_grad_(False).eval(), weights_sha256="", cache=ArrayCache(None), split_outputs={})

    def _tuned(self, module: nn.Module, seed: int) -> None:
        rows = self.others[-len(self.own) // 2 :]
        recipe = replace(TRAINED, epochs=2, learning_rate=0.01, seed=seed)
        train(module.requires_grad_(True), self.thief.pool.pixels(rows), self.thief.labels(rows), recipe, self.thief.accelerator)

    def said(self, model: Target) -> NDArray[np.float64]:
        return np.exp(query(model, self.thief.test, self.thief.accelerator).log_probabilities)


def pruned(module: nn.Module) -> None:
    """Set the smaller half of every weight tensor to zero."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data[parameter.abs() < parameter.abs().flatten().median()] = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", type=Path)
    for name, default in (("images", 20000), ("victims", 5), ("references", 9), ("independents", 20), ("few", 1000), ("many", 20000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    target = replace(load_model(args.target), cache=ArrayCache(args.cache and args.cache / "outputs"))
    splits = draw(image_set(target.entry, data=args.data), Transform.of(target.entry), target.num_classes)
    recipe = replace(TRAINED, epochs=args.epochs, temperature=4.0)
    named = {"surrogate": target.entry.architecture or "auto", "surrogate_args": target.entry.architecture_args}
    settings = Settings(**named, recipe=recipe, least_steps=300, transfer=None)
    thief = Thief.of(target, splits, Accelerator(cpu=True), settings)
    order, start = thief.pool.order(0), time.process_time()
    bench = Bench(thief, order[: args.images], order[args.images :], args.few, args.many)
    references = [bench.said(bench.model(REFERENCE + seed)) for seed in range(args.references)]
    labels, private = thief.test.images.labels, thief.pool.part(bench.own)
    found: list[tuple[int, bool, float]] = []

    def judge(victim: int, own: NDArray[np.float64], kind: str, model: Target, is_copy: bool) -> None:
        test = fingerprint(own, said := bench.said(model), references)
        members = np.exp(query(model, private, thief.accelerator).log_probabilities)
        inferred = dataset_inference(members, private.labels, said, labels)
        agreement = (own.argmax(1) == said.argmax(1)).mean()
        found.append((victim, is_copy, test.p_value))
        ends = f"{min(test.references):+.3f} to {max(test.references):+.3f}"
        numbers = f"agreement {agreement:.3f}  statistic {test.statistic:+.3f} [references {ends}]  p {test.p_value:.2g}"
        write(f"victim {victim}  {kind:40} {numbers}  dataset inference p {inferred:.2g}")

    for number in range(args.victims):
        victim = bench.model(number)
        own = bench.said(victim)
        share = args.independents // args.victims
        for seed in range(number * share, (number + 1) * share):
            judge(number, own, "independent", bench.model(INDEPENDENT + seed), False)
        for kind, model in bench.copies(victim, number):
            judge(number, own, kind, model, True)
    summary(found)
    write(f"{time.process_time() - start:.0f} s of the processor")


def summary(found: list[tuple[int, bool, float]]) -> None:
    """Print how many were called copies, and the AUROC with its bootstrap over victims."""
    victims, copies, p = (np.asarray(column) for column in zip(*found, strict=True))
    copies = copies.astype(bool)
    score = -np.log(np.maximum(p, 1e-300))
    for name, rows in (("copies", copies), ("independents", ~copies)):
        write(f"{name}: {(p[rows] <= LEVEL).sum()} of {rows.sum()} called copies (p <= {LEVEL})")
    rng, drawn = np.random.default_rng(0), []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(victims == one) for one in rng.choice(np.unique(victims), len(np.unique(victims)))])
        drawn.append(roc_auc_score(copies[rows], score[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    write(f"AUROC {roc_auc_score(copies, score):.3f} [{low:.3f}, {high:.3f}], bootstrap over victims")


if __name__ == "__main__":
    main()
