"""The card of a model repo: front matter, prose once, results between markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from securitynet.cards import render
from securitynet.data.dataset import find
from securitynet.entry import Entry
from securitynet.errors import HubError
from securitynet.hub import frontmatter
from securitynet.hub.evaluation import SOURCE, Evaluation

KNOWN = (
    "apache-2.0 mit bsd bsd-2-clause bsd-3-clause isc zlib unlicense cc cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 "
    "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 "
    "gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 agpl-3.0 mpl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 afl-3.0 artistic-2.0 bsl-1.0 ecl-2.0 "
    "ms-pl ncsa ofl-1.1 osl-3.0 postgresql wtfpl openrail"
)
LICENCES = frozenset(KNOWN.split())  # the Hub's names of licences


@dataclass(frozen=True)
class ModelCard:
    """What the card of a model is made from. `form` is timm, transformers or own."""

    repo: str
    entry: Entry
    form: str
    evaluation: Evaluation

    def text(self, present: str | None) -> str:
        """Return README.md: `present` with block and model-index made anew, or a whole card where there is none. Raises HubError."""
        known = present if present and present.strip() else None
        text = known or frontmatter.updated(render("model", self._values()), self._general())
        index = frontmatter.read(text, self.repo).get("model-index")
        if self.evaluation.rows or known is None or not self.evaluation.is_of_these(known):
            whole = self.evaluation.within(text)
            text = frontmatter.updated(whole, made) if (made := self._index(index)) else whole
        return text

    def _values(self) -> dict[str, Any]:
        dataset = find(self.entry.dataset)
        title = {"title": (dataset and dataset.title) or self.entry.dataset, "hub_id": dataset and dataset.hub_id}
        return {"repo": self.repo, "name": self.repo.partition("/")[2], "entry": self.entry, "dataset": title, "form": self.form} | {
            "facts": _facts(self.entry)
        }

    def _general(self) -> dict[str, Any]:
        dataset, tags = find(self.entry.dataset), ["image-classification", "securitynet", "security", "privacy"]
        library = {} if self.form == "own" else {"library_name": self.form}
        named = (dataset and dataset.hub_id) or self.entry.dataset
        listed = {"pipeline_tag": "image-classification", "datasets": [named], "tags": [*([self.form] if library else []), *tags]}
        return {**licence(self.entry.licence), **library, **listed}

    def _index(self, present: Any) -> dict[str, Any]:
        """The model-index: results of others as they are, the claim where none is stated, ours made anew."""
        models = [] if present is None else present
        if not isinstance(models, list) or not all(isinstance(one, dict) and isinstance(one.get("results"), list) for one in models):
            raise HubError(f"{self.repo}: the model-index of README.md is not of the Hub's form; mend it first")
        name = models[0].get("name") if models else self.repo.partition("/")[2]
        kept = [result for one in models for result in one["results"] if (result.get("source") or {}).get("name") != SOURCE["name"]]
        if not kept and self.entry.claimed_accuracy is not None:
            kept = [self._result([_metric("accuracy", self.entry.claimed_accuracy)], self.entry.claimed_split)]
        shown = [row for row in self.evaluation.shown() if row.status == "ok"]
        if shown:
            metrics = [_metric(f"{row.attack} {row.metric}", row.value) for row in shown]
            kept = [*kept, {**self._result(metrics, "members and non-members"), "source": dict(SOURCE)}]
        return {"model-index": [{"name": name, "results": kept}]} if kept else {}

    def _result(self, metrics: list[dict[str, Any]], split: str | None) -> dict[str, Any]:
        dataset = find(self.entry.dataset)
        named = {"name": (dataset and dataset.title) or self.entry.dataset, "type": (dataset and dataset.hub_id) or self.entry.dataset}
        return {
            "task": {"type": "image-classification"},
            "dataset": {**named, **({"split": split} if split else {})},
            "metrics": metrics,
        }


def licence(stated: str | None) -> dict[str, Any]:
    """Return the keys of the front matter that state a licence, in the Hub's own names; none where it is unknown."""
    if not stated or stated.casefold() == "unknown":
        return {}
    name = stated.casefold().removesuffix("-only").removesuffix("-or-later")
    return {"license": name} if name in LICENCES else {"license": "other", "license_name": "-".join(stated.casefold().split())}


def _metric(name: str, value: float | None) -> dict[str, Any]:
    return {"type": name, "value": value, "name": name}


def _facts(entry: Entry) -> Sequence[tuple[str, Any]]:
    claim = None if entry.claimed_accuracy is None else f"{entry.claimed_accuracy:.4f} on {entry.claimed_split or 'its test images'}"
    mean, std = (", ".join(map(str, values or ())) for values in (entry.mean, entry.std))
    origin = entry.weights_url or entry.hub_id
    facts = (
        ("Claimed accuracy", claim),
        ("Input", f"{' x '.join(map(str, entry.input_size or ()))}; mean {mean}, std {std}"),
        ("Parameters", None if entry.params is None else f"{entry.params:,}"),
        ("Licence of the weights", entry.licence or "not stated"),
        ("Published by", f"{entry.source}, {origin}" if origin and entry.source != "hf-hub" else None),
        ("Paper", f"{entry.paper_title or ''} {entry.paper_url or ''}".strip() or None),
        ("Robust training", None if entry.threat_model in (None, "none") else entry.threat_model),
        ("Planted backdoor", entry.backdoor),
    )
    return [(label, value) for label, value in facts if value is not None]
