"""BibTeX of models and attacks: the paper behind each, the very weights, and this software with the study that it builds on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from securitynet._version import __version__
from securitynet.entry import Entry
from securitynet.errors import UsageError

SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "#$%&_"} | {"{": "", "}": "", "\\": "", "~": r"\textasciitilde{}", "^": ""})
JOURNALS = ("IEEE Transactions",)
ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/([\w.-]+/\d{7}|\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Work:
    """A publication; `author` is the first one's name, the others are "and others"."""

    author: str
    year: int
    title: str
    venue: str
    arxiv: str | None = None


SP = "IEEE Symposium on Security and Privacy"
WORKS = (
    Work("Shokri", 2017, "Membership Inference Attacks Against Machine Learning Models", SP, "1610.05820"),
    Work(
        "Yeom",
        2018,
        "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
        "IEEE Computer Security Foundations Symposium",
        "1709.01604",
    ),
    Work(
        "Salem",
        2019,
        "ML-Leaks: Model and Data Independent Membership Inference Attacks and Defenses on Machine Learning Models",
        "NDSS",
        "1806.01246",
    ),
    Work("Song", 2021, "Systematic Evaluation of Privacy Risks of Machine Learning Models", "USENIX Security Symposium", "2003.10595"),
    Work("Choquette-Choo", 2021, "Label-Only Membership Inference Attacks", "ICML", "2007.14321"),
    Work("Li", 2021, "Membership Leakage in Label-Only Exposures", "ACM CCS", "2007.15528"),
    Work("Carlini", 2022, "Membership Inference Attacks From First Principles", SP, "2112.03570"),
    Work("Ye", 2022, "Enhanced Membership Inference Attacks against Machine Learning Models", "ACM CCS", "2111.09679"),
    Work("Bertran", 2023, "Scalable Membership Inference Attacks via Quantile Regression", "NeurIPS", "2307.03694"),
    Work("Steinke", 2023, "Privacy Auditing with One (1) Training Run", "NeurIPS", "2305.08846"),
    Work("Zarifzadeh", 2024, "Low-Cost High-Power Membership Inference Attacks", "ICML", "2312.03262"),
    Work("Wang", 2019, "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks", SP),
    Work(
        "Wang",
        2024,
        "MM-BD: Post-Training Detection of Backdoor Attacks with Arbitrary Backdoor Pattern Types Using a Maximum Margin Statistic",
        SP,
        "2205.06900",
    ),
    Work("Gao", 2019, "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks", "ACSAC", "1902.06531"),
    Work("Chen", 2018, "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering", "arXiv", "1811.03728"),
    Work("Tran", 2018, "Spectral Signatures in Backdoor Attacks", "NeurIPS", "1811.00636"),
    Work("Ma", 2023, "The ``Beatrix'' Resurrections: Robust Backdoor Detection via Gram Matrices", "NDSS", "2209.11715"),
    Work(
        "Udeshi",
        2022,
        "Model Agnostic Defence Against Backdoor Attacks in Machine Learning",
        "IEEE Transactions on Reliability",
        "1908.02203",
    ),
    Work("Orekondy", 2019, "Knockoff Nets: Stealing Functionality of Black-Box Models", "CVPR", "1812.02766"),
    Work("Truong", 2021, "Data-Free Model Extraction", "CVPR", "2011.14779"),
    Work("Papernot", 2017, "Practical Black-Box Attacks against Machine Learning", "ACM AsiaCCS", "1602.02697"),
    Work("Sener", 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", "ICLR", "1708.00489"),
    Work("Pal", 2020, "ActiveThief: Model Extraction Using Active Learning and Unannotated Public Data", "AAAI"),
)
STUDY = Work(
    "Zhang", 2024, "SecurityNet: Assessing Machine Learning Vulnerabilities on Public Models", "USENIX Security Symposium", "2310.12665"
)


def cite(name: str) -> str:
    """Return BibTeX for an id of the catalog or an attack (`membership/lira`, or `lira` where that is clear).

    An entry gives its paper, as far as its record knows it, and the weights; an attack the papers that its module names; both also
    this software and the study of 2024. Raises UsageError for a name that is neither.
    """
    from securitynet import catalog
    from securitynet.attacks.resolve import names

    attacks = [attack for attack in names() if name in (attack, attack.partition("/")[2])]
    if len(attacks) > 1:
        raise UsageError(f"{name} may be {' or '.join(attacks)}; write it in full")
    parts = of_attack(attacks[0]) if attacks else of_entry(catalog.entry(name))
    return "\n".join([*parts, _software(), _work(STUDY)])


def of_entry(entry: Entry) -> list[str]:
    """Return BibTeX of a model's paper, where its record names one, and of its weights at their pin."""
    found = []
    if entry.paper_title or entry.paper_url:
        arxiv = ARXIV.search(entry.paper_url or "")
        is_preprint = entry.venue in (None, "arXiv")
        facts = {"title": entry.paper_title, "booktitle": None if is_preprint else entry.venue, "year": entry.year}
        facts |= {"eprint": arxiv[1] if arxiv else None, "archivePrefix": "arXiv" if arxiv else None, "url": entry.paper_url}
        note = f"{entry.num_authors} authors, whose names the catalog does not hold" if entry.num_authors else None
        found.append(_entry("misc" if is_preprint else "inproceedings", f"{_key(entry.id)}:paper", {**facts, "note": note}))
    pin = f"sha256 {entry.weights_hash}" if entry.integrity == "full" and entry.hash_algorithm == "sha256" else None
    revision = f"revision {entry.revision}" if entry.revision else None
    note = "; ".join(filter(None, (pin, revision))) or "not pinned: the weights at this address may change"
    address = entry.weights_url or (f"https://huggingface.co/{entry.hub_id}" if entry.hub_id else None)
    weights = {"title": f"Weights of {entry.id}", "howpublished": "model weights", "url": address, "note": note}
    return [*found, _entry("misc", f"{_key(entry.id)}:weights", weights)]


def of_attack(attack: str) -> list[str]:
    """Return BibTeX of the papers that an attack's module names; none for one that names none."""
    text = _docstring(attack)
    first = text.partition("\n\n")[0]
    works = list(_named(first)) or list(_named(text))
    known = {work.arxiv for work in works}
    others = [id for id in dict.fromkeys(re.findall(r"arXiv (\d{4}\.\d{4,5})", first if works else text)) if id not in known]
    preprints = [{"eprint": id, "archivePrefix": "arXiv", "url": f"https://arxiv.org/abs/{id}"} for id in others]
    return [*map(_work, works), *(_entry("misc", f"arxiv:{facts['eprint']}", dict(facts)) for facts in preprints)]


def _docstring(attack: str) -> str:
    spec = find_spec(f"securitynet.attacks.{attack.replace('/', '.')}")
    if spec is None or spec.origin is None:
        return ""
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""


def _named(text: str) -> Iterator[Work]:
    """The works that a text names, by arXiv number or by the first author and the year."""
    for work in WORKS:
        by_name = re.search(rf"\b{work.author}\b(?: et al\.)?[^.;]{{0,90}}?\b{work.year}\b", text)
        if (work.arxiv is not None and f"arXiv {work.arxiv}" in text) or by_name:
            yield work


def _work(work: Work) -> str:
    place = "journal" if work.venue.startswith(JOURNALS) else "booktitle"
    kind = "article" if place == "journal" else "misc" if work.venue == "arXiv" else "inproceedings"
    facts = {"title": work.title, "author": f"{work.author} and others", place: None if kind == "misc" else work.venue, "year": work.year}
    preprint = {"eprint": work.arxiv, "archivePrefix": "arXiv"} if work.arxiv else {}
    return _entry(kind, f"{work.author.lower()}{work.year}", {**facts, **preprint})


def _software() -> str:
    title = "securitynet: a catalog of public image classifiers and an honest evaluation of their security and privacy"
    return _entry("software", "securitynet", {"title": title, "author": "The securitynet developers", "version": __version__})


def _entry(kind: str, key: str, facts: Mapping[str, object]) -> str:
    lines = [f"  {name} = {{{_text(name, value)}}}" for name, value in facts.items() if value not in (None, "")]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"


def _text(name: str, value: object) -> str:
    """A value for BibTeX: what TeX would read as a command is escaped; addresses stay as they are, without braces."""
    text = " ".join(str(value).split())
    if name in ("url", "eprint"):
        return text.translate(str.maketrans("", "", "{}\\ "))
    braced = f"{{{text.translate(SPECIAL)}}}" if name in ("title", "author") and value != "" and " and others" not in text else None
    return braced or text.translate(SPECIAL)


def _key(id: str) -> str:
    return re.sub(r"[^\w.:/-]", "-", id)
