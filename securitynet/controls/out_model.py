"""The out-model: the same attacks on models that saw none of the images they are queried with.

What an attack finds there is a difference of the collections of images as a model sees it, not memory. Two small networks are
trained on complementary halves of members and non-members together, and each image is scored by the one that did not hold it;
or the user names a public model that was not trained on these images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.data.prepared import beside
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import Skipped
from securitynet.metrics.exact import rank_difference
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import ACCURACY, SHIFT_P_VALUE
from securitynet.references import ReferenceSettings, reference_networks
from securitynet.references.measure import on_threads
from securitynet.target import Target, query
from securitynet.training import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.attacks.resolve import Named
    from securitynet.data import Splits

Mask = NDArray[np.bool_]
SEED = 1_000_003  # no reference model of an attack: that would be compared with itself
SHOWN = 15_000  # images that each network is trained on, the same one counted in each epoch
EPOCHS = 6, 25  # fewest and most
TRAINED = "trained"
LARGEST = 64  # pixels: small networks learn little of larger images in the minutes that there are
SIDES = ("members", "non_members")


@dataclass(frozen=True, eq=False)
class OutModel:
    """Models [k], each with the splits as it is shown them, and masks over members and non-members that it was not trained on.

    `accuracy` is the share of non-members that are classified rightly by a model that did not hold them. `name` is `trained` or the
    id of the public model.
    """

    name: str
    targets: tuple[Target, ...]
    splits: tuple[Splits, ...]
    unseen: tuple[tuple[Mask, Mask], ...]

    def scores(self, attack: Named, accelerator: Accelerator) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Yield the scores of members and of non-members that `attack` gives on each model. Raises Skipped as the attack does."""
        for target, splits in zip(self.targets, self.splits, strict=True):
            found = attack.attack(target, splits, accelerator).arrays()
            yield found["members"], found["non_members"]

    def checks(self, accelerator: Accelerator) -> list[Estimate]:
        """Return its accuracy on non-members, and the p-value that members and non-members look alike to it, by their losses."""
        losses: list[list[NDArray[np.float64]]] = [[], []]
        classes = range(self.splits[0].num_classes)
        right: list[Mask] = []
        for target, splits, unseen in zip(self.targets, self.splits, self.unseen, strict=True):
            for side, (name, mask) in enumerate(zip(SIDES, unseen, strict=True)):
                outputs = query(target, getattr(splits, name), accelerator)
                chosen = outputs.log_probabilities[mask, outputs.labels[mask]]
                losses[side] += [chosen[outputs.labels[mask] == one] for one in classes]  # class shares are another control's matter
                if side:
                    right.append(outputs.logits[mask].argmax(axis=1) == outputs.labels[mask])
        p = rank_difference(losses[0], losses[1], self.splits[0].seed)
        n = sum(len(part) for side in losses for part in side)
        accuracy = Estimate(ACCURACY, float(np.concatenate(right).mean()), sum(map(len, right)))
        return [accuracy, Estimate(SHIFT_P_VALUE, p, n, ci_method="exact, by shuffling")]


def trained(target: Target, splits: Splits, accelerator: Accelerator) -> OutModel:
    """Return two small networks cross-fitted over halves. Raises Skipped with the reason where images or labels cannot serve."""
    size = target.entry.input_size or ()
    if len(size) != 3 or max(size[1:]) > LARGEST:
        raise Skipped(f"small networks can be trained on images of up to {LARGEST} pixels, these are {list(size)}: name an out-model")
    members, non_members = splits.members, splits.non_members
    if members is None or non_members is None:
        raise Skipped(f"an out-model needs training and test images: {splits.missing}")
    with on_threads(1):  # another number of threads rounds otherwise: the control's verdict would depend on the machine
        made = reference_networks(splits, settings_for(len(members) + len(non_members)), accelerator, target.cache)
    targets, unseen = [], []
    for number, (module, held) in enumerate(made):
        entry = Entry(id=f"out-model {number}", num_classes=splits.num_classes, input_size=target.entry.input_size)
        targets.append(Target(entry, module.eval().requires_grad_(False), f"out-model {number}", cache=target.cache))
        unseen.append((~held[: len(members)], ~held[len(members) :]))
    return OutModel(TRAINED, tuple(targets), (splits,) * len(targets), tuple(unseen))


def settings_for(images: int) -> ReferenceSettings:
    """Return how both networks are trained on halves of so many images: about as many steps whatever their number, half a core minute."""
    epochs = min(max(SHOWN * 2 // max(images, 1), EPOCHS[0]), EPOCHS[1])
    recipe = Recipe(epochs=epochs, optimiser="adamw", learning_rate=0.01, weight_decay=0.01, flip=True)
    return ReferenceSettings(count=2, seed=SEED, recipe=recipe)


def public(name: str, model: Target, splits: Splits) -> OutModel:
    """Return a model that others trained on other images; that it saw none of these is the user's word."""
    if splits.members is None or splits.non_members is None:
        raise Skipped(f"an out-model needs training and test images: {splits.missing}")
    if model.num_classes != splits.num_classes:
        raise Skipped(f"{name} cannot be an out-model: it knows {model.num_classes} classes, the model under test {splits.num_classes}")
    pixels = beside(splits.members.transform, Transform.of(model.entry))
    parts = {side: replace(getattr(splits, side), transform=pixels) for side in SIDES}
    everything = np.ones(len(splits.members), bool), np.ones(len(splits.non_members), bool)
    return OutModel(name, (model,), (replace(splits, **parts),), (everything,))
