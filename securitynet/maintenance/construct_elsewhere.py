"""check --construct for libraries that need an environment of their own: a command builds, we compare with the records."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.maintenance.construct import Built, difference


def construct_outside(entries: Sequence[Entry], command: str) -> Iterator[Built]:
    """Give the names of `entries` to `command`, one a line; yield what became of each as it answers.

    The command answers with a line of JSON per name: `name`, `params` (trainable), `all` (with those that the publisher froze)
    and `outputs` (widths of layers), or `problem`.
    Raises UsageError where it cannot be started, does not answer for each name in turn, or fails.
    """
    try:
        process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"--with {command!r} cannot be started ({error})") from error
    with process:
        assert process.stdin is not None and process.stdout is not None
        for entry in entries:
            try:
                process.stdin.write(entry.name + "\n")
                process.stdin.flush()
                answer = _answer(process.stdout.readline(), entry.name)
            except (BrokenPipeError, ValueError) as error:
                process.kill()
                raise UsageError(f"--with {command!r} gave no answer for {entry.name} ({error or 'it ended'})") from error
            yield Built(entry.id, entry.source, _problem(entry, answer))
        process.stdin.close()


def _answer(line: str, name: str) -> dict[str, Any]:
    """Return the object of a line. Raises ValueError where it is not one about `name`."""
    answer = json.loads(line or "null")
    if not isinstance(answer, dict) or answer.get("name") != name:
        raise ValueError(f"it said {line[:80].strip()!r}")
    return answer


def _problem(entry: Entry, answer: dict[str, Any]) -> str | None:
    if "problem" in answer:
        return str(answer["problem"])
    if entry.num_classes not in answer["outputs"]:
        return f"none of its layers has {entry.num_classes} outputs, the record's number of classes"
    return difference(entry, {int(answer["params"]), int(answer["all"])})
