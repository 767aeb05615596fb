"""The data that verdicts rest on, from the scores of a population: clean models' scores and covariates, and the power of the ladders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from backdoor_plans import GROUNDS, TO_ALL
from backdoor_table import SUITES, usable

from securitynet.attacks.backdoor._kind import Covariates, Kind
from securitynet.attacks.backdoor._nulls import FEWEST, Nulls, calibrate, combined, parse, shares
from securitynet.attacks.backdoor._power import ALL, ONE
from securitynet.attacks.backdoor.universal_permutation import MAJORITY
from securitynet.metrics.judgement import LEVEL, Judgement

KINDS = {
    "patch": (ONE, "patch"),
    "blended": (ONE, "blended noise"),
    "input-aware": (ONE, "input-aware trigger"),
    "wanet": (ONE, "warp (WaNet)"),
    "sinusoidal": (ONE, "clean-label stripes (SIG)"),
    "patch-to-all": (ALL, "patch"),
    "blended-to-all": (ALL, "blended noise"),
}
EXCHANGE = "backdoor/universal_permutation"
Records = Sequence[dict[str, Any]]
Group = tuple[str, int, int]


def nulls_of(records: Records, before: str = "", join: bool = False) -> str:
    """Return the null file of a population's clean models: their scores by detector, settings and dataset, then their covariates.

    Lines of the file `before` stay where these records measured nothing of the kind, or on fewer models. `join`: these are other
    models than those of `before`, whose lines they are added to.
    """
    clean = [one for one in usable(records) if one["poison"] == "clean" and _pool(one) is not None]
    lines = {**_scores(clean), **_populations(clean)}
    if join:
        for one in map(json.loads, before.splitlines()):
            if _key(one) in lines:
                lines[_key(one)] = _joined(one, lines[_key(one)])
    kept = {_key(one): one for one in map(json.loads, before.splitlines()) if _models(one) > _models(lines.get(_key(one), {}))}
    ordered = sorted({**lines, **kept}.items(), key=lambda pair: ("networks" in pair[1], pair[0]))
    return "".join(json.dumps(line) + "\n" for _, line in ordered)


def _scores(clean: Records) -> dict[tuple[Any, ...], dict[str, Any]]:
    groups: dict[tuple[str, str, Group], list[float]] = {}
    for one in {(one["model"], one["detector"], one["params"]): one for one in clean}.values():
        groups.setdefault((one["detector"], one["params"], _group(one)), []).append(one["score"])
    lines = [
        {"detector": detector, "params": params, **_counted(group), "scores": sorted(float(f"{score:.6g}") for score in scores)}
        for (detector, params, group), scores in groups.items()
    ]
    return {_key(line): line for line in lines}


def _populations(clean: Records) -> dict[tuple[Any, ...], dict[str, Any]]:
    lines = []
    ordered = sorted((one for one in clean if one.get("covariates")), key=lambda one: one.get("mask") is not None)
    known = list({one["model"]: one for one in ordered}.values())
    for group in dict.fromkeys(map(_group, known)):
        own = [one for one in known if _group(one) == group]
        dataset, classes, most = group
        architectures = ", ".join(sorted({one["network"] for one in own}))
        line = {"dataset": dataset, "classes": classes, "most": most, "networks": [one["covariates"] for one in own]}
        masks = sorted(one["mask"] for one in own if one.get("mask") is not None)
        masks = masks if len(masks) >= FEWEST else []  # the smallest of a few is no measure of the next one
        lines.append({**line, "masks": masks, "remark": architectures})
    return {_key(line): line for line in lines}


def _joined(before: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    """Both lines as one; masks only where both have some."""
    if "networks" not in line:
        return {**line, "scores": sorted([*before["scores"], *line["scores"]])}
    masks = sorted([*before["masks"], *line["masks"]]) if before["masks"] and line["masks"] else before["masks"]
    return {**before, "networks": [*before["networks"], *line["networks"]], "masks": masks}


def _pool(one: dict[str, Any]) -> Group | None:
    ground = GROUNDS[one["ground"]]
    if ground.pool == "" or one["ground"] == "tiny":
        return None
    if ground.pool is None:
        return one["dataset"], one["classes"], one["classes"]
    counts = [other.classes for other in GROUNDS.values() if other.pool == ground.pool]
    return ground.pool, min(counts), max(counts)


def _group(one: dict[str, Any]) -> Group:
    found = _pool(one)
    assert found is not None
    return found


def _counted(group: Group) -> dict[str, Any]:
    dataset, classes, most = group
    return {"dataset": dataset, "classes": classes, **({"most": most} if most > classes else {})}


def _models(line: dict[str, Any]) -> int:
    return len(line.get("scores") or line.get("networks") or ())


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    """What a line is about; a scores line without params is one of covariates."""
    return line.get("detector", "~"), line.get("params", ""), line["dataset"], line["classes"], line.get("most") or line["classes"]


def power_of(records: Records, nulls: str) -> str:
    """Return as JSON lines how many backdoored networks each ladder calls suspicious, by kind and dataset."""
    known, lines = parse(nulls.splitlines()), []
    for suite in SUITES:
        judged = judgements(records, suite, known)
        for kind, (mode, words) in KINDS.items():
            own = [(one["dataset"], bool(found.flagged)) for one, found in judged if one["poison"] == kind]
            for dataset in dict.fromkeys(dataset for dataset, _ in own):
                here = [flagged for of, flagged in own if of == dataset]
                facts = {"suite": suite, "mode": mode, "kind": words, "dataset": dataset, "level": LEVEL}
                lines.append({**facts, "found": sum(here), "of": len(here)})
    return "".join(json.dumps(line) + "\n" for line in lines)


def judgements(records: Records, suite: str, nulls: Nulls) -> list[tuple[dict[str, Any], Judgement]]:
    """Return of every model that all stages of a suite were run on a record, and what the combined p-value says."""
    weights, found = SUITES[suite], dict[str, dict[str, dict[str, Any]]]()
    for one in usable(records):
        if one["detector"] in weights:
            found.setdefault(one["model"], {})[one["detector"]] = one
    return [_judged(list(own.values()), weights, nulls) for own in found.values() if len(own) == len(weights) or _alone(own)]


def _alone(own: Mapping[str, dict[str, Any]]) -> bool:
    """Say whether a network with an all-to-all backdoor was looked at by the one stage that looks for such: its share is the same."""
    return all(one["poison"] in TO_ALL for one in own.values()) and EXCHANGE in own


def _judged(own: Records, weights: Mapping[str, float], nulls: Nulls) -> tuple[dict[str, Any], Judgement]:
    first = next(one for one in own if one.get("covariates"))
    kind = Kind(first["dataset"], first["classes"], Covariates.of(first["covariates"]))
    params = {null.detector: null.params for null in nulls.scores} | {one["detector"]: one["params"] for one in own}
    able = shares(weights, kind, {name: params.get(name, "") for name in weights}, nulls)
    used = [one for one in own if one["detector"] in able]
    if not used:  # the stages that ran cannot flag a model of this kind, whatever their scores
        return first, Judgement.at(1.0, False, True, False)
    stages = [calibrate(one["detector"], one["params"], one["score"], kind, nulls) for one in used]
    p_values = [1.0 if found.p_value is None else found.p_value for found in stages]
    parts = [able[one["detector"]] for one in used]
    best = used[int(np.argmin([p_value / part for p_value, part in zip(p_values, parts, strict=True)]))]
    confirmed = best.get("candidate") in first.get("working", ()) or (best["detector"] == EXCHANGE and _mean(best) >= MAJORITY)
    return first, Judgement.at(combined(p_values, parts), all(found.calibrated for found in stages), True, confirmed)


def _mean(one: dict[str, Any]) -> float:
    return float(np.nanmean(np.array(one.get("statistics") or [np.nan], dtype=np.float64)))
