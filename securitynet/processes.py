"""What the processes of one accelerator agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from accelerate import Accelerator

Value = TypeVar("Value")


def agreed(value: Value, accelerator: Accelerator) -> Value:
    """Return the first process's `value` to all: one that skips what the others do would leave them waiting."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    found = [value]
    broadcast_object_list(found)
    return found[0]
