"""What a pickle would build, counted without building it: a few bytes may name one value again and again, level upon level."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO

from securitynet.errors import SecurityNetError

MOST_STEPS, MOST_VALUES, DEEPEST = 1_000_000, 20_000_000, 200
MOST_PICKLES = 5  # of the format before zip: a number, a version, facts of the machine, the object, its storages
MUTATORS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
Size = list[int]  # values in it, and levels of it


def check_pickles(stream: IO[bytes], failure: Callable[[str], SecurityNetError]) -> None:
    """Read the steps of the pickles at the beginning of a stream. Raises `failure` where they build more than checkpoints hold.

    A value that is named many times counts each time: to hash or to print it, a reader walks through all of it.
    """
    for _ in range(MOST_PICKLES):
        _check_one(stream, failure)
        if stream.read(1) != b"\x80":
            return
        stream.seek(-1, 1)


def _check_one(stream: IO[bytes], failure: Callable[[str], SecurityNetError]) -> None:
    machine = _Machine()
    for count, (step, argument, _) in enumerate(pickletools.genops(stream)):
        size = machine.take(step, argument)
        if count > MOST_STEPS or size[0] > MOST_VALUES:
            raise failure("more values than a checkpoint has")
        if size[1] > DEEPEST:
            raise failure(f"values in one another, more than {DEEPEST} levels deep")


class _Machine:
    """The stack and the memo of an unpickler, with sizes in place of values."""

    def __init__(self) -> None:
        self.stack: list[Size | None] = []  # None is a mark
        self.memo: dict[int, Size] = {}

    def take(self, step: pickletools.OpcodeInfo, argument: object) -> Size:
        """Carry out a step; return the size of what is on top afterwards. Raises IndexError, KeyError for a broken pickle."""
        name = step.name
        if name == "MARK":
            self.stack.append(None)
            return [0, 0]
        if name.endswith("GET"):
            self.stack.append(self.memo[int(str(argument))])
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name.endswith("PUT") or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else int(str(argument))] = self.top()
        else:
            self._apply(step)
        return self.stack[-1] or [0, 0] if self.stack else [0, 0]

    def top(self) -> Size:
        """Return the size of the value on top."""
        return self.stack[-1] or [0, 0]

    def _apply(self, step: pickletools.OpcodeInfo) -> None:
        before = list(step.stack_before)
        taken: list[Size] = []
        if pickletools.markobject in before:
            while (one := self.stack.pop()) is not None:
                taken.append(one)
            before = before[: before.index(pickletools.markobject)]
        below = [self.stack.pop() or [0, 0] for _ in before][::-1]
        if step.name in MUTATORS:
            whole, parts = below[0], below[1:] + taken
        else:
            whole, parts = [1, 1], below + taken
        whole[0] += sum(part[0] for part in parts)
        whole[1] = max([whole[1], *(1 + part[1] for part in parts if part is not whole)])
        self.stack += [whole for _ in step.stack_after]
