"""Compare saved results: the same attacks side by side, differences with intervals.

Where both models were queried on the same images, the intervals are paired (DeLong's test for AUCs, a paired bootstrap for
rates at fixed false alarms, McNemar's test for accuracies). The first model is compared with each of the others.

With --ownership: is B a copy of A? Reference models of A's architecture are trained on A's training images (or named), and one
p-value, fixed beforehand, says whether B shares what is peculiar to A.

examples:
  securitynet compare results/digits-overfit results/digits-regular
  securitynet compare builtin/digits-overfit builtin/digits-regular --within results --output compare.html
  securitynet compare results/none results/top-k:1 results/label-only --metric auc
  securitynet compare --ownership akamaster/resnet20 suspect.safetensors --data cifar10.npz --references 9
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json
from securitynet.metrics.vocabulary import AUC, BALANCED_ACCURACY, title_of

if TYPE_CHECKING:
    from securitynet.report.comparison.compare import Comparison
    from securitynet.report.saved_result import SavedResult
    from securitynet.results.row import Row

SHORT = {BALANCED_ACCURACY: "bal. acc.", AUC: "AUC"}
HELP = "compare saved results, paired where they can be"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("models", nargs="+", metavar="A B", help="folders of `evaluate --output`, or ids of models saved in --within")
    parser.add_argument("--within", type=Path, default=Path("results"), metavar="DIR", help="where ids are looked for (default: results)")
    parser.add_argument("--output", type=Path, metavar="FILE.html", help="write a page too")
    parser.add_argument("--metric", metavar="NAME", help="instead, one table of this metric: attacks down, models or defences across")
    parser.add_argument("--ownership", action="store_true", help="instead, test whether model B is a copy of model A (ids or paths)")
    parser.add_argument("--data", metavar="IMAGES", help="of --ownership: images of A's dataset, as in evaluate")
    parser.add_argument(
        "--references", nargs="+", metavar="N|MODEL", help="of --ownership: how many models to train, or independent ones (default: 9)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of --ownership: seed of the splits and of the reference models")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the differences, or everything as JSON."""
    if args.ownership:
        return _show_ownership(args)
    from securitynet.report.comparison.compare import compare, find_saved, write_comparison

    models = [find_saved(name, args.within) for name in args.models]
    if args.metric:
        return _show_grid(models, args.metric, args.json)
    found = compare(models)
    path = write_comparison(found, args.output) if args.output else None
    if args.json:
        print_json([one.to_record() for one in found])
        return DONE
    for one in found:
        _show(one)
    if path:
        from rich.console import Console
        from rich.text import Text

        Console().print(Text(f"saved {path}", style="dim"), soft_wrap=True)
    return DONE


def _show_ownership(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.text import Text

    from securitynet.errors import UsageError
    from securitynet.ownership import CAVEAT, REFERENCES, ownership_of

    if len(args.models) != 2:
        raise UsageError(f"compare --ownership takes two models, A and B, not {len(args.models)}")
    given = args.references or [str(REFERENCES)]
    references = int(given[0]) if len(given) == 1 and given[0].isdecimal() else given
    found = ownership_of(args.models[0], args.models[1], data=args.data, references=references, seed=args.seed)
    if args.json:
        print_json(found.to_record())
        return DONE
    word = "is like a copy of" if found.copied else "is not shown to be a copy of"
    inferred = "-" if found.data_p_value is None else f"{found.data_p_value:.2g}"
    console = Console()
    if found.doubt is not None:
        word = f"cannot be judged ({found.doubt}) against"
    console.print(Text(f"{found.suspect} {word} {found.victim}: p = {found.p_value:.2g}", style="bold"))
    console.print(
        Text(
            f"shared peculiarities {found.statistic:+.3f}, of {len(found.references)} independent references "
            f"{min(found.references):+.3f} to {max(found.references):+.3f}; agreement {found.agreement:.1%} on {found.n:,} images; "
            f"dataset inference p = {inferred}"
        )
    )
    console.print(Text(CAVEAT, style="dim"))
    return DONE


def _show_grid(models: Sequence[SavedResult], metric: str, as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from securitynet.report.comparison.attack_table import attack_table

    found = attack_table(models, metric)
    if as_json:
        print_json(found.to_record())
        return DONE
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in (title_of(metric), *found.columns):
        table.add_column(Text(name), overflow="fold")
    for line in found.lines:
        table.add_row(Text(line.label), *(Text(_cell(row)) for row in line.rows))
    Console().print(table)
    return DONE


def _cell(row: Row | None) -> str:
    if row is None or row.value is None:
        return "-"
    from securitynet.report.page.number_tables import ends

    return f"{row.value:.3f} {ends(row.ci_low, row.ci_high, '.3f')}".rstrip()


def _show(one: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from securitynet.report.page.number_tables import ends

    console = Console()
    console.print(Text.assemble((one.first.entry.id, "bold"), " and ", (one.second.entry.id, "bold")))
    for saved in (one.first, one.second):
        if saved.verify.get("cause"):
            console.print(Text(f"suspect: {saved.entry.id}: {saved.verify['cause']}", style="bold red"))
    console.print(Text(one.note, style="dim"))
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("attack", "metric", "first", "second", "difference", "95 % interval", "p"):
        table.add_column(name, justify="left" if name in ("attack", "metric") else "right", no_wrap=name != "attack", overflow="fold")
    shown = ""
    for line in one.differences:
        interval = ends(line.ci_low, line.ci_high, "+.3f") or "-"
        p = "-" if line.p is None else f"{line.p:.2g}"
        name, shown = ("" if line.label == shown else line.label), line.label
        numbers = [f"{line.first:.3f}", f"{line.second:.3f}", f"{line.difference:+.3f}", interval, p]
        table.add_row(Text(name), Text(title_of(line.metric)), *numbers, style="bold" if line.clear else "")
    console.print(table)
    if one.missing:
        console.print(Text(f"only one of both has: {', '.join(one.missing)}", style="dim"))
    console.print(Text(one.conclusion, style="bold"))
