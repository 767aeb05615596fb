"""Names of classes as people write them: WordNet ids, synonyms, other case and punctuation. Which of a dataset's classes is meant?"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from securitynet.data.dataset import ImageDataset

WORDNET = re.compile(r"(?<![a-z\d])n\d{8}(?!\d)")
NUMBERED = re.compile(r"([^\W\d_]*)[\s_:#-]*(\d{1,7})")
SPLIT = re.compile(r"[,;/|()]|\s-\s|\s+or\s+")
LEADING = re.compile(r"\d{1,7}[\s.:_-]+(?=\D)")
SYNONYMS = {  # of classes whose record has one name only; from WordNet
    "airplane": ("plane", "aeroplane"),
    "automobile": ("car", "auto", "motorcar"),
    "ship": ("boat",),
    "truck": ("lorry",),
    "motorcycle": ("motorbike",),
    "zero": ("0",), "one": ("1",), "two": ("2",), "three": ("3",), "four": ("4",),
    "five": ("5",), "six": ("6",), "seven": ("7",), "eight": ("8",), "nine": ("9",),
}  # fmt: skip
DIGITS = {digit: word for word, digits in SYNONYMS.items() for digit in digits if digit.isdecimal()}
TOLERATED = 100  # of so many names one may be another, if all others stand where they should


@dataclass(frozen=True)
class Agreement:
    """How names of outputs agree with the classes of a dataset.

    `kind`: identity, permutation (`outputs` holds the output of each class), unnamed, unknown (the dataset's own names are not
    recorded), partial, or other (another number of classes, or none of the names). `reason` is for people.
    """

    kind: str
    reason: str | None = None
    outputs: tuple[int, ...] = ()


def agreement(names: Sequence[str], record: ImageDataset) -> Agreement:
    """Return how the names of a model's outputs, in order, agree with the classes of a dataset."""
    if not names:
        return Agreement("unnamed", "the outputs are not named: taken in the order of the dataset's classes")
    if record.num_classes and len(names) != record.num_classes:
        return Agreement("other", f"{record.key} has {record.num_classes} classes, the model {len(names)}")
    if record.class_names is None:
        return Agreement("unknown", f"the class names of {record.key} are not recorded: the order of the labels was not checked")
    possible = [_possible(name, record) for name in names]
    strange = [name for place, (name, one) in enumerate(zip(names, possible, strict=True)) if place not in one]
    if not strange:
        return Agreement("identity")
    if len(strange) <= len(names) // TOLERATED and all(place in one or not one for place, one in enumerate(possible)):
        return Agreement("identity", f"labels are those of {record.key}, {len(strange)} of them under another name ({_some(strange)})")
    if not all(possible) and (numbers := _numbers(names)):
        return _numbered(names, numbers, record)
    if not any(possible):
        return Agreement("other", f"none of the labels ({_some(names)}) is a class of {record.key} ({_some(record.class_names)})")
    return _matched(names, possible, record)


def meant(names: Sequence[str], record: ImageDataset) -> list[int] | None:
    """Return the class that each name means, None where one means none, two mean the same, or one may also
    mean a class that is not among them."""
    settled = [next(iter(one)) for one in (_meant(name, record) for name in names) if len(one) == 1]
    taken = set(settled)
    sure = len(taken) == len(names) and all(_possible(name, record) <= taken for name in names)
    return settled if sure else None


def named(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return names that say which class is meant; None for those that only count, as LABEL_0."""
    return tuple(names) if names and _numbers(names) != list(range(len(names))) else None


def _numbers(names: Sequence[str]) -> list[int]:
    """The numbers of names that are nothing else, as LABEL_0; empty where one is a name."""
    found = [NUMBERED.fullmatch(name.strip()) for name in names]
    same = len({one[1] for one in found if one}) == 1
    return [int(one[2]) for one in found if one] if all(found) and same else []


def _numbered(names: Sequence[str], numbers: Sequence[int], record: ImageDataset) -> Agreement:
    steps = {number - place for place, number in enumerate(numbers)}
    if steps in ({0}, {1}):
        return Agreement("unnamed", f"labels are not named ({names[0][:40]}, ...): taken in the order of the classes of {record.key}")
    place = next(place for place, number in enumerate(numbers) if number != place)
    return Agreement("partial", f"labels are numbers in another order than the outputs (output {place} is {names[place][:40]})")


def _matched(names: Sequence[str], possible: Sequence[frozenset[int]], record: ImageDataset) -> Agreement:
    known, settled = record.class_names or (), _settled([_meant(name, record) for name in names])
    alike = _in_order(settled, possible, len(known))
    where = {place: output for output, place in enumerate(settled) if place is not None} | alike
    if len(where) == len(known):
        output = next(output for place, output in sorted(where.items()) if output != place)
        reason = f"by their labels, the outputs are the classes of {record.key} in another order (output {output} is {names[output][:40]})"
        doubt = [names[output] for output in alike.values()]
        reason += f"; {_some(doubt)} cannot be told apart and keep their order" if doubt else ""
        return Agreement("permutation", f"{reason}; the class map puts them back", tuple(where[place] for place in range(len(known))))
    strange = [name for name, place in zip(names, settled, strict=True) if place is None]
    missing = [name for place, name in enumerate(known) if place not in where]
    found = len(names) - len(strange)
    reason = f"only {found} of {len(names)} labels are classes of {record.key}: not {_some(strange)}, and no label is {_some(missing)}"
    return Agreement("partial", reason)


def _in_order(settled: Sequence[int | None], possible: Sequence[frozenset[int]], classes: int) -> dict[int, int]:
    """Classes that share a name, a few of ImageNet's do: their outputs by class, in the order in which both stand."""
    open_places = sorted(set(range(classes)) - {place for place in settled if place is not None})
    outputs = [output for output, place in enumerate(settled) if place is None]
    found: dict[int, int] = {}
    for output in outputs:
        place = next((one for one in open_places if one in possible[output] and one not in found), None)
        if place is not None:
            found[place] = output
    return found if len(found) == len(open_places) == len(outputs) <= classes // TOLERATED else {}


def _settled(meant: Sequence[frozenset[int]]) -> list[int | None]:
    """The class of each name: what can be only one is taken from the others, until nothing changes; None where it stays open."""
    settled: list[int | None] = [None] * len(meant)
    left = [set(one) for one in meant]
    claims = Counter(next(iter(one)) for one in left if len(one) == 1)
    taken: set[int] = set()
    while single := [place for place, one in enumerate(left) if len(one) == 1 and settled[place] is None]:
        for place in single:
            (only,) = left[place]
            if claims[only] > 1 or only in taken:  # two names for one class
                left[place] = set()
                continue
            settled[place] = only
            taken.add(only)
        for place, one in enumerate(left):
            if settled[place] is None:
                one -= taken
        claims = Counter(next(iter(one)) for place, one in enumerate(left) if len(one) == 1 and settled[place] is None)
    return settled


def _meant(name: str, record: ImageDataset) -> frozenset[int]:
    """The classes that a name means: those of its WordNet id, else of the whole name, else those that share most synonyms."""
    ids, exact, whole, parts = _index(record)
    for table, forms in ((ids, _ids(name)), (exact, [name.strip()]), (whole, [_plain(name)])):
        for form in forms:
            if form in table:
                return table[form]
    shared = Counter(place for form in _forms(name) for place in parts.get(form, ()))
    most = max(shared.values(), default=0)
    return frozenset(place for place, count in shared.items() if count == most)


def _possible(name: str, record: ImageDataset) -> frozenset[int]:
    """All classes that a name may mean."""
    ids, _, _, parts = _index(record)
    for form in _ids(name):
        if form in ids:
            return ids[form]
    return frozenset().union(*(parts.get(form, frozenset()) for form in _forms(name)))


def _ids(name: str) -> list[str]:
    return [*WORDNET.findall(name.casefold()), _plain(name)]


Index = dict[str, frozenset[int]]


@lru_cache(maxsize=64)
def _index(record: ImageDataset) -> tuple[Index, Index, Index, Index]:
    """The classes of ids, of names as they are written (whole or a part), of whole names, of all their forms."""
    names, ids = record.class_names or (), record.class_ids or ()
    written = _places([one.strip() for one in (name, *SPLIT.split(name))] for name in names)
    return (
        _places([_plain(one)] for one in ids),
        {form: places for form, places in written.items() if len(places) == 1},
        _places([_plain(one)] for one in names),
        _places(_forms(one) for one in names),
    )


def _places(forms: Iterable[Iterable[str]]) -> Index:
    found: dict[str, set[int]] = {}
    for place, some in enumerate(forms):
        for form in some:
            found.setdefault(form, set()).add(place)
    return {form: frozenset(places) for form, places in found.items()}


def _forms(name: str) -> set[str]:
    """A name whole, without a leading number, and its parts, which are synonyms; each with the synonyms known here."""
    stripped = LEADING.sub("", name.strip(), count=1)
    plain = {_plain(one) for one in (name, stripped, *SPLIT.split(stripped))} - {""}
    more = {other for one in plain for other in (*SYNONYMS.get(one, ()), DIGITS.get(one, ""))}
    single = {one.removesuffix("s") for one in plain if len(one) > 3} | {one.rstrip("0123456789") for one in plain}
    return (plain | more | single) - {""}


def _plain(name: str) -> str:
    """Letters and digits in lower case, without accents."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", name[:500]).casefold() if letter.isalnum())


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:3]) + (f", ... ({len(names)})" if len(names) > 3 else "")
