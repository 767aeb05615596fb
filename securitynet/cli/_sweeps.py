"""What a terminal shows of a sweep: its plan, how it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securitynet.sweep.driver import SweepPlan


def show_plan(plan: SweepPlan, folder: Path) -> None:
    """Print what there is to do by dataset, the attacks, and what it will cost."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from securitynet.sweep.progress import duration

    table = Table(box=None, header_style="bold")
    for name in ("dataset", "models", "to do", "cannot be evaluated"):
        table.add_column(name, justify="left" if name == "dataset" else "right")
    todo = Counter(job.entry.dataset for job in plan.todo if not job.impossible)
    impossible = Counter(job.entry.dataset for job in plan.todo if job.impossible)
    for dataset, count in Counter(job.entry.dataset for job in plan.jobs).items():
        table.add_row(Text(dataset or "-"), str(count), str(todo[dataset]), str(impossible[dataset]))
    cost, console = plan.cost, Console()
    console.print(table)
    names = dict.fromkeys(name for name, _ in plan.attacks)
    console.print(Text(f"{len(plan.attacks)} attacks: {', '.join(names)}"))
    speed = (
        f"at {cost.speed / 1e9:,.0f} billion multiply-accumulates a second, which this device just did"
        if cost.speed
        else "by rule of thumb"
    )
    basis = f"from {cost.measured} measured here" if cost.measured else speed
    guessed = f" ({cost.unstated} of unknown size, guessed from their parameters)" if cost.unstated else ""
    console.print(f"about {duration(cost.seconds)} of computing, {basis}")
    console.print(f"downloads {_size(cost.download)}{guessed}; on disk {_size(cost.disk)}; memory {_size(cost.memory)}", highlight=False)
    console.print(Text(f"results would go to {folder}"))


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def show_status(found: Mapping[str, Any]) -> None:
    """Print counts, the jobs at work and the failures of a sweep."""
    from rich.console import Console
    from rich.text import Text

    from securitynet.sweep.progress import STATUSES, duration

    console = Console()
    counts = ", ".join(f"{found[name]} {name}" for name in STATUSES if name == "ok" or found[name])
    state = f"running, about {duration(found['seconds_left'])} left" if found["running"] else "not running"
    console.print(Text(f"{found['settled']} of {found['jobs']} settled: {counts}; {state}"))
    for job in found["now"]:
        console.print(Text(f"now: {job['entry']} seed {job['seed']}, since {duration(job['seconds'])}"))
    for job in found["failures"]:
        console.print(Text(f"failed: {job['entry']} seed {job['seed']}: {job['reason']}"))
    for one in found["damage"]:
        console.print(Text(f"damaged: {one}"))
    if found["damage"]:
        console.print(Text("what is damaged does not count; the same sweep, run again, sets it aside and measures again what is missing"))
