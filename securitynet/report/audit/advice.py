"""What to do about each risk. Measures of training are advice only; they name measured rows, or say that there are none."""

from __future__ import annotations

from dataclasses import dataclass

from securitynet.report.audit.contents import Contents
from securitynet.report.audit.place import Places
from securitynet.report.audit.severity import HIGH, LEVELS, LOW, MEDIUM, UNKNOWN, UNSEEN

ORDER = ("verify", "backdoor", "membership", "stealing", "files")  # of equally severe risks, whose advice comes first
PIN = "Pin the weights: name the commit (hf-hub:ORG/NAME@COMMIT), or record the full sha256 in the entry."
TEXTS = {
    ("files", HIGH): "Do not load it. Ask the publisher for the weights as safetensors, without code.",
    ("files", MEDIUM): "Load it with securitynet or torch.load(weights_only=True) only, and read any code before you run it.",
    ("files", UNSEEN): "Audit the files themselves: give the file, the folder or hf-hub:ORG/NAME.",
    ("verify", HIGH): "Do not use it before the cause is mended: no other number about this model counts.",
    ("verify", UNKNOWN): "State the accuracy and its split (claimed_accuracy), so that others can verify it.",
    ("verify", UNSEEN): "Give labelled images: --data PATH or a dataset on the Hub.",
    ("backdoor", HIGH): "Do not use it. Look at the trigger (securitynet triggers MODEL), and tell the publisher before anybody else.",
    ("backdoor", UNKNOWN): "Calibrate the detectors on clean models of this kind: securitynet backdoor calibrate.",
    ("backdoor", UNSEEN): "Run the detectors: --attacks backdoor:standard.",
    ("membership", HIGH): "Treat the training images as disclosed: do not publish a model of private images before it is trained again "
    "with less overfitting, or with differential privacy.",
    ("membership", MEDIUM): "If the training images are private, train again with less overfitting (augmentation, weight decay, early "
    "stopping), or with differential privacy.",
    ("membership", UNKNOWN): "Measure on more images (--samples all), or on a split that differs in nothing but membership.",
    ("membership", UNSEEN): "Run the attacks: --attacks membership:standard, with the images of both splits.",
    ("stealing", HIGH): "If copies matter, serve fewer outputs (--try measures which help) and count queries per user.",
    ("stealing", MEDIUM): "If copies matter, serve fewer outputs (--try measures which help) and count queries per user.",
    ("stealing", UNKNOWN): "Measure at 5,000 queries, with a pool of so many images: --set settings.pool=DATASET.",
    ("stealing", UNSEEN): "Run the attack: --attacks stealing:standard.",
}


@dataclass(frozen=True)
class Advice:
    """What to do about a risk, and the measured rows behind it; `reference` None where nothing was measured."""

    risk: str
    severity: str
    text: str
    reference: str | None = None


def advice(severities: dict[str, str], contents: Contents, places: Places, tried: str | None = None) -> tuple[Advice, ...]:
    """Return what to do, the most useful thing first; `tried`: what the defences that were tried came to.

    Files of high severity come before all else: nothing may be loaded.
    """
    found = []
    for risk in sorted(
        ORDER, key=lambda one: (LEVELS.index(severities[one]), -1 if (one, severities[one]) == ("files", HIGH) else ORDER.index(one))
    ):
        severity = severities[risk]
        if severity == LOW or (risk, severity) not in TEXTS:
            continue
        text = PIN if risk == "files" and severity == MEDIUM and not contents.pinned else TEXTS[risk, severity]
        found.append(Advice(risk, severity, text, _reference(risk, severity, places, tried)))
    return tuple(found)


def _reference(risk: str, severity: str, places: Places, tried: str | None) -> str | None:
    if severity not in (HIGH, MEDIUM):
        return None
    if risk == "stealing":
        return tried
    if risk != "membership":
        return None
    if not places.trend:
        return f"no measured rows on {places.dataset or 'this dataset'} say how much that helps"
    said = " and ".join(f"{rho:+.2f} over {name} models" for name, rho in places.trend.items())
    return f"measured on {places.dataset}: the AUC goes along with the overfitting level, rank correlation {said} (rows of zhang2024)"
