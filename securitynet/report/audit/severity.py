"""The one table of severities: for each risk the conditions in order, the first that holds decides; pages print the same table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from securitynet.report.audit.contents import Contents
from securitynet.report.audit.facts import BUDGET, Copied, Leak
from securitynet.results.verdict import BackdoorVerdict

HIGH, MEDIUM, LOW, UNKNOWN, UNSEEN = LEVELS = ("high", "medium", "low", "not known", "not looked at")
MEMBERS_FOUND = 0.01  # lower end of the true-positive rate at 0.1 % false positives: ten times what chance gives
NO_LEAK = 0.52  # an AUC that lies below this with all of its interval
MUCH, LITTLE = 0.05, 0.02  # of agreement beyond the control: one image in 20, one in 50
Facts = Any  # of the risk that a rule is about


@dataclass(frozen=True)
class Rule:
    """A line of the table: `severity` of `risk` where `holds`, which `words` say."""

    risk: str
    severity: str
    words: str
    holds: Callable[[Facts], bool]


def _files(found: Contents) -> bool:
    return found.dangerous or bool(found.needs_code) or found.differs


def _doubtful_files(found: Contents) -> bool:
    return found.executable or bool(found.code) or bool(found.unlisted) or bool(found.unscanned) or not found.pinned


def _no_verdict(found: Leak | Copied) -> bool:
    return found.blocked is not None


def _backdoor(word: str) -> Callable[[BackdoorVerdict], bool]:
    return lambda found: found.word == word


def _members_found(found: Leak) -> bool:
    return found.tpr_low is not None and found.tpr_low >= MEMBERS_FOUND


def _no_leak(found: Leak) -> bool:
    return found.high is not None and found.high < NO_LEAK


def _copies(found: Copied, least: float) -> bool:
    return found.low is not None and found.low > least


RULES = (
    Rule("files", UNSEEN, "the files are not here, or the model only returns outputs", lambda one: one.reason is not None),
    Rule("files", HIGH, "a file imports what can run commands, the model needs code of its own, or a hash differs from the record", _files),
    Rule(
        "files", MEDIUM,
        "the weights are a pickle or another format that can hold code, a pickle imports what is on no list or could not be read, "
        "other code lies in the repo, or neither a commit nor a full hash pins the weights",
        _doubtful_files,
    ),
    Rule("files", LOW, "otherwise: pinned weights in a format that holds no code", lambda one: True),
    Rule("verify", UNSEEN, "the model was not queried with labelled images", lambda one: not one.looked),
    Rule("verify", HIGH, "verification failed: the model is not what its entry says", lambda one: one.cause is not None),
    Rule("verify", LOW, "the accuracy agrees with the publisher's claim", lambda one: one.claim is not None),
    Rule("verify", UNKNOWN, "otherwise: there is no claim to compare with", lambda one: True),
    Rule("membership", UNSEEN, "no attack was run", lambda one: not one.looked),
    Rule(
        "membership", UNKNOWN, "verification failed, rows are suspect, or what was found is not separated from a shift of the data",
        _no_verdict,
    ),
    Rule("membership", HIGH, "the lower end of the true-positive rate at 0.1 % false positives is at least 1 %", _members_found),
    Rule("membership", MEDIUM, "the lower end of the headline is above chance", lambda one: one.found),
    Rule("membership", LOW, f"the upper end of the AUC is below {NO_LEAK:g}", _no_leak),
    Rule("membership", UNKNOWN, "otherwise: too few images to tell", lambda one: True),
    Rule("stealing", UNSEEN, "no attack was run", lambda one: not one.looked),
    Rule("stealing", UNKNOWN, "verification failed, or no control with true labels was trained", _no_verdict),
    Rule(
        "stealing", HIGH,
        f"at {BUDGET:,} queries (or all there are) the copy agrees at least {100 * MUCH:g} points more than the control with true "
        "labels, by the lower end",
        lambda one: _copies(one, MUCH - 1e-12),
    ),
    Rule("stealing", MEDIUM, "the same, by any amount", lambda one: _copies(one, 0.0)),
    Rule(
        "stealing", LOW, f"at {BUDGET:,} queries the upper end is below {100 * LITTLE:g} points",
        lambda one: one.asked and one.high is not None and one.high < LITTLE,
    ),
    Rule("stealing", UNKNOWN, f"otherwise: too few images, or {BUDGET:,} queries were not measured", lambda one: True),
    Rule("backdoor", UNSEEN, "no detector was run", lambda one: one is None),
    Rule("backdoor", HIGH, "the judgement is suspicious", _backdoor("suspicious")),
    Rule("backdoor", LOW, "the judgement is clean", _backdoor("clean")),
    Rule("backdoor", UNKNOWN, "otherwise: it cannot be known, or clean models of this kind were not measured", lambda one: True),
    Rule("evasion", UNSEEN, "no attack of this kind is part of the audit yet", lambda one: True),
)  # fmt: skip
RISKS = tuple(dict.fromkeys(rule.risk for rule in RULES))


def severity(risk: str, facts: Facts) -> str:
    """Return the severity of a risk (one of RISKS) by the first rule of RULES that holds for its facts."""
    return next(rule.severity for rule in RULES if rule.risk == risk and rule.holds(facts))


def at_least(found: str, wanted: str) -> bool:
    """Say whether a severity is as bad as `wanted`; what is not known counts below low, what nobody looked at below that.

    With `not known` as `wanted`, high, medium, not known and not looked at count: everything but low.
    """
    if wanted == UNKNOWN:
        return found != LOW
    return LEVELS.index(found) <= LEVELS.index(wanted)
