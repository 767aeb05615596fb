"""A Hub in this process, with a clock of its own: it lists simulated repos, answers for their files, and enforces the rate limits.

The forms of its answers are those that huggingface_hub 2.4 reads. Nothing of it may ever get into a catalog that is committed.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from securitynet.data.dataset import resolve
from securitynet.importers.onhub.calls import Answer, kind_of

ENDPOINT = "https://hub.simulated"
LIMITS, WINDOW, LATENCY = {"api": 500, "file": 3000}, 300, 0.12  # requests per window of so many seconds; seconds per request
NAMES = {"api": "api", "file": "resolvers"}
BASES = (
    ("vit", "ViTForImageClassification", 86_567_656),
    ("swin", "SwinForImageClassification", 28_288_354),
    ("resnet", "ResNetForImageClassification", 25_636_712),
)
PROCESSOR = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5] * 3, "resample": 2, "rescale_factor": 1 / 255, "size": {"height": 224, "width": 224},
}  # fmt: skip
LABELS = ("CIFAR-10", "ImageNet-1k", "GTSRB", "MNIST")


@dataclass
class Clock:
    """Seconds that pass only when somebody sleeps or asks the Hub."""

    time: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Return the time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self.lock:
            self.time += seconds


def digest(*parts: object) -> str:
    """Return a sha256 that stands for content which does not exist."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass
class SimulatedHub:
    """`repos` repos, of which `known` are names of the catalog's; made of `seed`. `labels`: the listing's configs name the classes.

    `changed`: repos by what happened to them since: renamed (to a name), gone, gated, moved (to another commit).
    `page`: repos per page of the listing; `die`: called at every request with its number.
    """

    repos: int
    known: tuple[str, ...] = ()
    seed: int = 0
    labels: bool = True
    page: int = 1000
    workers: int = 8
    clock: Clock = field(default_factory=Clock)
    changed: dict[str, str] = field(default_factory=dict)
    die: Callable[[int], None] = lambda number: None
    counts: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def __post_init__(self) -> None:
        self._used: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._places = {self.name(number): number for number in range(self.repos)}

    def name(self, number: int) -> str:
        """Return the name of a repo: the catalog's own, a zoo's, or anybody's."""
        if number < len(self.known):
            return self.known[number]
        if number % 100 == 7:
            return f"ProbeX/Model-J__{('SupViT', 'DINO', 'MAE', 'ResNet')[number // 100 % 4]}__model_idx_{number // 100 % 1000:04d}"
        return f"user{number % 977}/model-{number}"

    def send(self, method: str, address: str, most: int) -> Answer:
        """Answer one request, unless the window has none left."""
        kind = kind_of(address)
        with self._lock:
            self.clock.sleep(LATENCY / self.workers)  # so many are under way at a time
            now = self.clock.now()
            self.counts[kind] += 1
            self.die(sum(self.counts.values()))
            window = (kind, int(now // WINDOW))
            self._used[window] += 1
            left, seconds = LIMITS[kind] - self._used[window], int(WINDOW - now % WINDOW) + 1
        headers = {
            "ratelimit": f'"{NAMES[kind]}";r={max(left, 0)};t={seconds}',
            "ratelimit-policy": f'"fixed window";"{NAMES[kind]}";q={LIMITS[kind]};w={WINDOW}',
        }
        if left < 0:
            self.refused += 1
            return Answer(429, headers)
        answer = self._api(address) if kind == "api" else self._file(method, address)
        return Answer(answer.status, {**answer.headers, **headers}, answer.body)

    def _api(self, address: str) -> Answer:
        path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
        if path != "/api/models":
            return self._info(path.removeprefix("/api/models/"))
        start, size = int(query.get("cursor", ["0"])[0]), min(int(query.get("limit", ["1000"])[0]), self.page)
        items = [self.item(number) for number in range(start, min(start + size, self.repos))]
        author = query.get("author", [None])[0]
        found = [item for item in items if item is not None and author in (None, item["id"].partition("/")[0])]
        rest = f"{address.partition('&cursor=')[0]}&cursor={start + size}"
        more = {"link": f'<{rest}>; rel="next"'} if start + size < self.repos else {}
        return Answer(200, more, json.dumps(found).encode())

    def _info(self, repo: str) -> Answer:
        fate = self.changed.get(repo)
        if fate == "gone" or repo not in self._places:
            return Answer(401, {"x-error-code": "RepoNotFound"})
        return Answer(200, {}, json.dumps({"id": fate.partition(" ")[2] if fate and fate.startswith("renamed") else repo}).encode())

    def item(self, number: int) -> dict[str, Any] | None:
        """Return a repo as the listing gives it, None for one that is gone."""
        repo, chance = self.name(number), random.Random(f"{self.seed} {number}")
        fate = self.changed.get(repo, "")
        if fate == "gone":
            return None
        config, card, files = self._config(repo, chance), self._card(repo, chance), self._files(repo)
        listed = config if self.labels else {key: config[key] for key in ("architectures", "architecture", "model_type") if key in config}
        numbers = {"F32": BASES[self._kind(repo)][2]} if "model.safetensors" in files else None
        return {
            "_id": digest(repo)[:24], "id": fate.partition(" ")[2] if fate.startswith("renamed") else repo, "sha": self.sha(repo),
            "private": False, "disabled": False, "gated": "auto" if fate == "gated" or number % 100 == 3 else False,
            "downloads": int(10 ** (chance.random() * 5)), "likes": chance.randrange(40), "pipeline_tag": "image-classification",
            "library_name": "timm" if "architecture" in config else "transformers", "createdAt": "2025-01-01T00:00:00.000Z",
            "tags": ["image-classification", f"license:{card.get('license', 'unknown')}", "region:us"],
            "config": listed, "cardData": card, "safetensors": {"parameters": numbers, "total": sum(numbers.values())} if numbers else None,
            "siblings": [{"rfilename": name} for name in files],
        }  # fmt: skip

    def sha(self, repo: str) -> str:
        """Return the newest commit of a repo."""
        return digest("commit", repo, self.changed.get(repo) == "moved")[:40]

    def weights(self, repo: str) -> str:
        """Return the sha256 of a repo's weights; one in twenty has those of another."""
        number = self._places[repo]
        return digest("weights", number - 1 if number % 20 == 19 else number, self.changed.get(repo) == "moved")

    def _kind(self, repo: str) -> int:
        return int(digest("kind", repo)[:6], 16) % 10 // 4

    def _files(self, repo: str) -> list[str]:
        draw = int(digest("files", repo)[:6], 16) % 100
        weights = "model.safetensors" if draw < 88 or repo in self.known else "pytorch_model.bin" if draw < 95 else "tf_model.h5"
        return [".gitattributes", "README.md", "config.json", weights, *([] if self._is_timm(repo) else ["preprocessor_config.json"])]

    def _is_timm(self, repo: str) -> bool:
        return repo.startswith("timm/") or int(digest("timm", repo)[:6], 16) % 12 == 0

    def _config(self, repo: str, chance: random.Random) -> dict[str, Any]:
        names = self._names(repo)
        if self._is_timm(repo):
            given = {"input_size": [3, 224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "crop_pct": 0.875}
            how = {"interpolation": "bicubic", "crop_mode": "center", "num_classes": len(names)}
            return {"architecture": "resnet18", "num_classes": len(names), "label_names": names, "pretrained_cfg": {**given, **how}}
        kind, head, _ = BASES[self._kind(repo)]
        config = {"architectures": [head], "model_type": kind, "id2label": {str(place): name for place, name in enumerate(names)}}
        return config | ({"problem_type": "multi_label_classification"} if chance.random() < 0.02 else {})

    def _names(self, repo: str) -> list[str]:
        draw = int(digest("labels", repo)[:6], 16) % 20
        if repo.startswith("ProbeX/"):
            return list(resolve("CIFAR-100").class_names or [f"class {place}" for place in range(100)])[:50]
        if draw < 4:
            return list(_known_names(LABELS[draw]))
        if draw < 6:
            return [f"LABEL_{place}" for place in range(2 + draw)]
        return [f"{repo.partition('/')[2]} class {place}" for place in range(2 + 7 * (draw - 5))]

    def _card(self, repo: str, chance: random.Random) -> dict[str, Any]:
        draw = int(digest("labels", repo)[:6], 16) % 20
        card: dict[str, Any] = {"license": chance.choice(["apache-2.0", "mit", "other", "cc-by-nc-4.0"])} if chance.random() < 0.7 else {}
        if draw < 4 and chance.random() < 0.5:
            card["datasets"] = [LABELS[draw].lower()]
        if chance.random() < 0.3:
            metric = {"type": "accuracy", "name": "Accuracy", "value": chance.choice([0.9312, 93.12, "0.5", float("0.25")])}
            data = {"type": LABELS[draw].lower() if draw < 4 else "imagefolder", "name": "imagefolder", "split": "test"}
            task = {"type": "image-classification"}
            card["model-index"] = [{"name": repo, "results": [{"task": task, "dataset": data, "metrics": [metric]}]}]
        return card | ({"base_model": "google/vit-base-patch16-224-in21k"} if chance.random() < 0.6 else {})

    def _file(self, method: str, address: str) -> Answer:
        parts = unquote(urlsplit(address).path).strip("/").split("/")
        repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        fate = self.changed.get(repo, "")
        former = next((old for old, what in self.changed.items() if what == f"renamed {repo}"), None)
        repo, fate = (former, "") if former is not None else (repo, fate)
        if fate == "gone" or repo not in self._places:
            return Answer(401, {"x-error-code": "RepoNotFound"})
        if fate.startswith("renamed"):
            return Answer(307, {"location": f"/{fate.partition(' ')[2]}/resolve/{revision}/{name}"})
        if fate == "gated":
            return Answer(401, {"x-error-code": "GatedRepo"})
        number = self._places[repo]
        commit = {"x-repo-commit": self.sha(repo) if revision == "main" else revision}
        if name.endswith((".safetensors", ".bin", ".h5", ".ckpt", ".pt", ".tar")):
            assert method == "HEAD", f"weights are never fetched: {address}"
            size = str(1_000_000 + number)
            linked = {"x-linked-etag": f'"{self.weights(repo)}"', "x-linked-size": size, "location": f"https://cdn.simulated/{number}"}
            return Answer(302, {**commit, **linked})
        contents: Mapping[str, Callable[[], Any]] = {
            "config.json": lambda: self._config(repo, random.Random(f"{self.seed} {number}")),
            "preprocessor_config.json": lambda: PROCESSOR,
        }
        card = "| Metric | Value |\n|---|---|\n| Train Accuracy | 0.99 |\n| Validation Accuracy | 0.71 |\n| Test Accuracy | 0.7012 |\n"
        body = json.dumps(contents[name]()).encode() if name in contents else card.encode()
        return Answer(200, {**commit, "etag": f'"{hashlib.sha1(body).hexdigest()}"'}, body)


@lru_cache
def _known_names(key: str) -> tuple[str, ...]:
    return resolve(key).class_names or tuple(f"{key} {place}" for place in range(resolve(key).num_classes or 2))
