"""The four attacks of AutoAttack, as its authors wrote them (pyautoattack), made ready for a cascade."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from securitynet.attacks.evasion._cascade import Stage
from securitynet.attacks.evasion._descent import lead
from securitynet.attacks.evasion._victim import Victim
from securitynet.threat import Threat

TARGETS, TARGETS_L1 = 9, 5  # classes that APGD-T aims at; FAB-T always at the first number
RESTARTS_L1 = 5
SILENT = logging.getLogger("securitynet.autoattack")  # the library warns image by image; evasion/masking counts instead
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


def apgd(victim: Victim, threat: Threat, loss: str, iterations: int, seed: int, restarts: int = 1, passes: int = 1) -> Stage:
    """Return APGD on the cross-entropy (`ce`) or the DLR loss (`dlr`), with the schedule of larger epsilons in L1.

    `passes` gradients are averaged at each step where the model is random.
    """
    from pyautoattack.autopgd_base import APGDAttack

    attack = APGDAttack(
        victim.followed, n_iter=iterations, norm=threat.norm, n_restarts=restarts, eps=threat.epsilon, seed=seed, loss=loss,
        eot_iter=passes, rho=0.75, device=victim.device, use_largereps=threat.norm == "L1", logger=SILENT,
    )  # fmt: skip
    settings = ("apgd", loss, iterations, restarts, passes)
    return Stage(f"apgd-{loss}", _of(attack), settings, restarts * passes * (iterations + 1))


def apgd_targeted(victim: Victim, threat: Threat, targets: int, iterations: int, seed: int) -> Stage:
    """Return APGD on the targeted DLR loss, aimed at the `targets` likeliest other classes one after the other."""
    from pyautoattack.autopgd_base import APGDAttack_targeted

    attack = APGDAttack_targeted(
        victim.followed, n_iter=iterations, norm=threat.norm, n_restarts=1, eps=threat.epsilon, seed=seed, rho=0.75,
        n_target_classes=targets, device=victim.device, use_largereps=threat.norm == "L1", logger=SILENT,
    )  # fmt: skip
    return Stage("apgd-t", _of(attack), ("apgd-t", targets, iterations), targets * (iterations + 2))


def fab_targeted(victim: Victim, threat: Threat, targets: int, iterations: int, seed: int) -> Stage:
    """Return FAB, aimed at the `targets` likeliest other classes one after the other."""
    from pyautoattack.fab_pt import FABAttack_PT

    attack = FABAttack_PT(
        victim.followed, norm=threat.norm, n_restarts=1, n_iter=iterations, eps=threat.epsilon, alpha_max=0.1, eta=1.05, beta=0.9,
        seed=seed, targeted=True, device=victim.device, n_target_classes=targets,
    )  # fmt: skip
    return Stage("fab-t", _of(attack), ("fab-t", targets, iterations), targets * 2 * iterations)


def square(victim: Victim, threat: Threat, queries: int, seed: int) -> Stage:
    """Return Square: it reads outputs only, those of the defended model, at most `queries` per image."""
    from pyautoattack.square import SquareAttack

    attack = SquareAttack(
        victim.judged, norm=threat.norm, n_queries=queries, eps=threat.epsilon, p_init=0.8, n_restarts=1, seed=seed,
        device=victim.device, resc_schedule=False,
    )  # fmt: skip
    attack.margin_and_loss = partial(_margin, victim)  # the library's also computes a cross-entropy, which this loss does not need
    return Stage("square", _of(attack), ("square", queries), queries + 3)


def stages(victim: Victim, threat: Threat, classes: int, version: str, budget: tuple[int, int], seed: int) -> Sequence[Stage]:
    """Return the attacks of AutoAttack's `version`, `standard` or `rand`, for a model of so many classes.

    `budget` are the iterations of the attacks with gradients, and the queries of Square: 100 and 5,000 in AutoAttack. The
    targeted DLR loss needs four classes and the plain one three; there are never more targets than other classes.
    """
    iterations, queries = budget
    restarts = RESTARTS_L1 if threat.norm == "L1" else 1
    if version == "rand":
        losses = ("ce", "dlr") if classes > 2 else ("ce",)
        return [apgd(victim, threat, loss, iterations, seed, passes=20) for loss in losses]
    first, last = apgd(victim, threat, "ce", iterations, seed, restarts), square(victim, threat, queries, seed)
    if classes == 2:
        return [first, last]
    aimed = min(TARGETS, classes - 1)
    second = (
        apgd_targeted(victim, threat, min(aimed, TARGETS_L1) if threat.norm == "L1" else aimed, iterations, seed)
        if classes > 3
        else apgd(victim, threat, "dlr", iterations, seed, restarts)
    )
    return [first, second, fab_targeted(victim, threat, aimed, iterations, seed), last]


def _margin(victim: Victim, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lead of the label [n] twice: as what is to fall below zero and as the loss."""
    margin = -lead(victim.judged(images), labels)
    return margin, margin


def _of(attack: Any) -> Any:
    def run(images: Tensor, labels: Tensor) -> Tensor:
        moved: Tensor = attack.perturb(images, labels)
        return moved

    return run
