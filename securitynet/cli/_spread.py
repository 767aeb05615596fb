"""What a terminal shows of the spread over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from securitynet.metrics.vocabulary import ADVANTAGE, tpr_at_fpr
from securitynet.results.labels import labels_of

if TYPE_CHECKING:
    import pandas as pd

HIDDEN = (tpr_at_fpr(0.1), ADVANTAGE)  # they say nothing that the others do not; --json has them


def spread_view(table: pd.DataFrame) -> Table:
    """Return mean, standard deviation, smallest and largest of each attack's metrics, a line each."""
    table = table[~table["metric"].isin(HIDDEN)]
    keys = list(dict.fromkeys(zip(table["attack"], table["params"], strict=True)))
    labels = dict(zip(keys, labels_of(keys), strict=True))
    view = Table(title=f"over {table['seeds'].max()} seeds", title_justify="left", header_style="bold", box=None, padding=(0, 1, 0, 0))
    for name in ("attack", "metric"):
        view.add_column(name, no_wrap=True)
    for name in ("mean", "sd", "min", "max"):
        view.add_column(name, justify="right", no_wrap=True)
    shown = ""
    for row in table.to_dict("records"):
        label = labels[row["attack"], row["params"]]
        numbers = [f"{row[name]:.3f}" if row[name] == row[name] else "-" for name in ("mean", "sd", "min", "max")]
        view.add_row(Text("" if label == shown else label), Text(row["metric"]), *numbers)
        shown = label
    return view
