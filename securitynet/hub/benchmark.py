"""`eval.yaml`: what makes a dataset repo of results a Benchmark of the Hub, where the Hub lists the framework that it names."""

from __future__ import annotations

from collections.abc import Iterable

from securitynet.errors import UsageError, unknown
from securitynet.results.row import Row

FILE = "eval.yaml"
LISTED = (  # EVALUATION_FRAMEWORKS of @huggingface/tasks, packages/tasks/src/eval.ts at fe42e68; the Hub refuses others at the push
    "exgentic inspect-ai math-arena mteb olmocr-bench harbor ifstruct pier redline-bench archipelago benchflow apex-evals screenspot-pro "
    "swe-bench swe-bench-pro nemo-evaluator yc-bench open-asr-leaderboard mdpbench real5-omnidocbench parsebench video-mme-v2 claw-eval "
    "researchclawbench pbench wildclawbench wbench nanofold mmmu extractbench"
)
FRAMEWORKS = tuple(LISTED.split())
DESCRIPTION = "Security and privacy of public image classifiers: membership inference, model stealing and backdoor detection, by attack."


def checked(framework: str) -> str:
    """Return the id of an evaluation framework that the Hub lists. Raises UsageError for another one."""
    if framework == "securitynet":
        raise UsageError(
            "--framework securitynet: the Hub's list of evaluation frameworks has no securitynet yet, so it would refuse eval.yaml; "
            "docs/hub.md holds the request to the Hub"
        )
    if framework not in FRAMEWORKS:
        raise unknown("evaluation framework of the Hub", framework, FRAMEWORKS)
    return framework


def eval_yaml(repo: str, rows: Iterable[Row], framework: str) -> bytes:
    """Return `eval.yaml` for a dataset repo of results: a task per attack and metric that a card shows, in its family's config.

    Raises UsageError for a framework that the Hub does not list, and where the rows have no such number.
    """
    import yaml

    from securitynet.hub.evaluation import Evaluation, task_of

    checked(framework)
    shown = Evaluation(repo, "", tuple(rows)).shown()
    tasks = {task_of(row): {"id": task_of(row), "config": row.family, "split": "train"} for row in shown}
    if not tasks:
        raise UsageError(f"{repo}: no row has a number that a benchmark could rank")
    named = {"name": repo.partition("/")[2], "description": DESCRIPTION, "evaluation_framework": framework}
    return yaml.safe_dump({**named, "tasks": [tasks[name] for name in sorted(tasks)]}, sort_keys=False).encode()
