"""Every attack of the package on one model of the built-in zoo, small: what the tests of vocabulary and reports are made from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import securitynet
from securitynet.attacks.protocols import Attack
from securitynet.attacks.resolve import names, resolve
from securitynet.attacks.settings import _settings, with_settings
from securitynet.results.result import Result

MODEL = "builtin/digits-badnets"
LEFT_OUT = ("stealing/presets",)  # knockoff with other settings; its large surrogate takes minutes
QUICK = (  # wherever an attack has such a setting
    "budgets=[20,60]",
    "budget=400",
    "batch=64",
    "candidates=80",
    "seeds=30",
    "rounds=2",
    "references=4",
    "starts=2",
    "steps=10",
    "iterations=1",
    "images=20",
    "queries=4",
    "patterns=1",
    "few=4",
    "suspects=2",
    "settings.steps=40",
    "settings.least_steps=5",
    "settings.repeats=1",
    "settings.recipe.epochs=2",
    "settings.transfer.steps=2",
    "settings.transfer.images=50",
)


def quick(attacks: Sequence[Attack]) -> list[Attack]:
    """The attacks with small settings."""
    changed = []
    for attack in attacks:
        having = dict(_settings(attack))
        own = [text for text in QUICK if text.partition("=")[0] in having and having[text.partition("=")[0]] is not None]
        changed += with_settings([attack], own)
    return changed


@cache
def everything(cache_dir: Path, samples: int = 120) -> Result:
    """The result of every attack there is."""
    attacks = [one for name in names() if name not in LEFT_OUT for one in quick(resolve(name))]
    return securitynet.evaluate(MODEL, attacks=attacks, samples=samples, cache_dir=cache_dir)
