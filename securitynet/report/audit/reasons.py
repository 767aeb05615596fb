"""One line per risk: why it has the severity that it has."""

from __future__ import annotations

from securitynet.metrics.vocabulary import AUC, title_of
from securitynet.report.audit.contents import Contents
from securitynet.report.audit.facts import BUDGET, Copied, Leak, Verified
from securitynet.report.audit.pickles import DANGEROUS
from securitynet.report.audit.severity import HIGH, LOW, MEDIUM, NO_LEAK, UNSEEN
from securitynet.results.verdict import BackdoorVerdict

CLEAN = "known to be clean"  # by the record, which needs no mention


def of_files(one: Contents, severity: str) -> str:
    """Return why the files have their severity."""
    if severity == UNSEEN:
        return one.reason or "the files were not looked at"
    kinds = ", ".join(dict.fromkeys(file.format or "no known format" for file in one.weights)) or "no weights file was recognised"
    if severity == LOW:
        return f"{kinds}; {one.pin}"
    if severity == HIGH:
        if one.dangerous:
            file, name = one.imported(DANGEROUS)[0]
            return f"{file} imports {name}, which can run commands when it is loaded"
        if one.needs_code:
            return f"the model needs code of its own ({one.needs_code[0]})"
        return f"the weights are not the file on record (its hash begins with {(one.recorded or '')[:12]})"
    causes = [f"the weights are {kinds}, which can hold code" if one.executable else ""]
    causes += [f"{one.unlisted[0][0]} imports {one.unlisted[0][1]}, which is on no list" if one.unlisted else ""]
    causes += [f"{one.unscanned[0]} could not be read" if one.unscanned else "", f"{one.code[0]} is code" if one.code else ""]
    causes += ["" if one.pinned else f"nothing pins the weights ({one.pin})"]
    harmless = "; its imports are the usual ones" if one.executable and not one.unlisted and not one.unscanned else ""
    return "; ".join(cause for cause in causes if cause) + harmless


def of_verify(one: Verified, severity: str) -> str:
    """Return what verification found."""
    if one.cause is not None:
        return one.cause
    if one.accuracy is None:
        return "the model was not queried with labelled images"
    found = f"accuracy {one.accuracy:.1%} on {one.n:,} {one.split} images" if one.n else f"accuracy {one.accuracy:.1%}"
    if severity == LOW:
        return f"{found} agrees with the publisher's claim of {one.claim:.1%}"
    return f"{found}; its publisher claims none to compare with"


def of_membership(one: Leak, severity: str) -> str:
    """Return what membership inference found."""
    if severity == UNSEEN:
        return "no membership attack was run"
    if one.blocked is not None:
        return f"no verdict: {one.blocked}"
    caveat = f"; {one.caveat}" if one.caveat else ""
    if severity == HIGH:
        return (
            f"{_short(one.tpr_attack)} finds {one.tpr or 0:.1%} of the training images at 0.1 % false alarms, "
            f"at least {one.tpr_low or 0:.1%} (chance is 0.1 %){caveat}"
        )
    if severity == MEDIUM and one.metric != AUC:
        return (
            f"{_short(one.attack)}: {title_of(one.metric or '')} is {one.value or 0:.1%}, at least {one.low or 0:.1%} "
            f"(chance is {100 * one.chance:g} %){caveat}"
        )
    if severity == MEDIUM:
        return (
            f"{_short(one.attack)} ranks a training image above an unseen one in {one.value or 0:.1%} of pairs, "
            f"at least {one.low or 0:.1%} (chance is 50 %){caveat}"
        )
    if severity == LOW:
        return f"nothing found: the AUC is below {one.high or 0:.3f} with all of its interval (0.5 is no leak)"
    if one.high is None or one.value is None:
        return "the numbers have no interval" if one.value is not None else "no attack gave an AUC"
    return f"nothing found, but too few images to exclude a leak: the AUC may be up to {one.high:.3f} (low is below {NO_LEAK:g})"


def of_stealing(one: Copied, severity: str) -> str:
    """Return what the copies gained."""
    if severity == UNSEEN:
        return "no stealing attack was run"
    if one.blocked is not None:
        return f"no verdict: {one.blocked}"
    queries = f"{one.budget or 0:,} queries"
    gain = f"{100 * (one.value or 0.0):+.1f} points"
    ends = "no interval" if one.low is None or one.high is None else f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
    if severity in (HIGH, MEDIUM):
        agreed = "" if one.agreement is None else f": {one.agreement:.1%} of unseen images"
        return f"a copy made with {queries} agrees with the model {gain[1:]} more often ({ends}) than one trained on true labels{agreed}"
    nothing = one.high is not None and one.high < 0
    much = f"nothing over true labels ({gain}, {ends})" if nothing else f"{gain} over true labels ({ends})"
    said = f"a copy made with {queries} gains {much}"
    if severity == LOW:
        return said
    return f"{said}; too few images to tell" if one.asked else f"{said}; {BUDGET:,} queries were not measured"


def of_backdoor(one: BackdoorVerdict | None, severity: str) -> str:
    """Return the judgement in short; the whole of it stands among the details."""
    if one is None:
        return "no detector was run"
    start = one.reason.partition(" (")[0].removesuffix(", which says little")
    found = one.trigger
    trigger = "" if found is None else f"; a trigger of {found.share:.1%} of the image turns {found.success:.0%} of other images"
    word = {HIGH: "it looks backdoored", LOW: "no trigger of the kinds looked for"}.get(severity, "cannot tell")
    known = f"; {one.known}" if one.known and one.known != CLEAN else ""
    return f"{word}: {start.partition('; a trigger')[0]}{trigger}{known}"


def _short(attack: str | None) -> str:
    return (attack or "").removeprefix("membership/").replace("_", " ")
