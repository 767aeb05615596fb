"""What a model repo says about measurements of its weights: the block of its card, and `.eval_results/securitynet.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from securitynet.cards import block_of, render, with_block
from securitynet.catalog import HUB_ID
from securitynet.errors import HubError
from securitynet.metrics.vocabulary import (
    ACCURACY,
    AGREEMENT,
    ANOMALY_INDEX,
    AUC,
    FLAGGED,
    OVERFIT_GAP,
    P_VALUE,
    TEST_ACCURACY,
    TRAIN_ACCURACY,
    TRIGGER_SUCCESS,
    tpr_at_fpr,
)
from securitynet.results.curves import largest
from securitynet.results.row import Row

EVALUATION = ".eval_results/securitynet.yaml"
SOURCE = {"name": "SecurityNet", "url": f"https://huggingface.co/datasets/{HUB_ID}"}
HEADLINES = (
    *(TRAIN_ACCURACY, TEST_ACCURACY, OVERFIT_GAP, AUC, tpr_at_fpr(0.01), tpr_at_fpr(0.001), ACCURACY, AGREEMENT),
    *(P_VALUE, ANOMALY_INDEX, TRIGGER_SUCCESS, FLAGGED),
)


def task_of(row: Row) -> str:
    """Return the id of the task that a row is a result of, in `.eval_results` and in the benchmark's eval.yaml."""
    return f"{row.attack}/{row.metric}"


@dataclass(frozen=True)
class Evaluation:
    """Measurements of one model: `weights` is their sha256, `benchmark` the dataset repo that their results name.

    `meaning` and `cause` come from the result: what it says, and why the model is suspect.
    """

    repo: str
    weights: str
    rows: tuple[Row, ...] = ()
    meaning: str | None = None
    cause: str | None = None
    benchmark: str = HUB_ID

    def shown(self) -> list[Row]:
        """Return the rows that a card shows: the headlines, of stealing those of the largest budget."""
        return [row for row in largest(self.rows) if row.metric in HEADLINES and row.value is not None]

    def within(self, text: str) -> str:
        """Return a card with its block made anew, every other character as it was. Raises HubError where the markers are no pair."""
        whole = with_block(text, render("model_block", self._block()))
        if whole is None:
            raise HubError(f"{self.repo}: README.md has not one pair of securitynet:begin and securitynet:end; mend it first")
        return whole

    def is_of_these(self, text: str) -> bool:
        """Say whether the block that a card has is about these weights."""
        return self.weights in (block_of(text) or "")

    def _block(self) -> dict[str, Any]:
        shown = self.shown()
        datasets = ", ".join(dict.fromkeys(row.dataset or "unknown images" for row in shown))
        stated = {"dataset": datasets, "date": max(((row.date or "").partition("T")[0] for row in shown), default="")}
        return {**stated, "repo": self.repo, "weights": self.weights, "rows": shown, "meaning": self.meaning, "cause": self.cause}

    def results(self) -> bytes | None:
        """Return the content of `.eval_results/securitynet.yaml`, None where nothing was measured."""
        import yaml
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

        entries = [
            EvalResultEntry(
                dataset_id=self.benchmark,
                task_id=task_of(row),
                value=row.value,
                date=row.date,
                source_url=f"https://huggingface.co/datasets/{self.benchmark}",
                source_name=SOURCE["name"],
                notes=f"on {row.dataset}, n = {row.n}, weights {self.weights[:12]}, params {row.params}",
            )
            for row in self.shown()
            if row.status == "ok"
        ]
        return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False).encode() if entries else None
