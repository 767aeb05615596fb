"""What processes that train different networks tell each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from accelerate import Accelerator

Value = TypeVar("Value")


def gathered(value: Value, accelerator: Accelerator) -> list[Value]:
    """Return every process's `value`, in order of the processes, to all of them."""
    if accelerator.num_processes == 1:
        return [value]
    from accelerate.utils import gather_object

    values: list[Value] = gather_object([value])
    return values


def completed(found: dict[int, NDArray[np.float32]], count: int, accelerator: Accelerator) -> list[NDArray[np.float32]]:
    """Return arrays 0 to count - 1, each of which at least one process has in `found`, to all processes."""
    have = gathered(list(found), accelerator)
    for index in range(count):
        owners = [process for process, indices in enumerate(have) if index in indices]
        if len(owners) < accelerator.num_processes:
            found[index] = _broadcast(found.get(index), owners[0])
    return [found[index] for index in range(count)]


def _broadcast(array: NDArray[np.float32] | None, owner: int) -> Any:
    from accelerate.utils import broadcast_object_list

    box = [array]
    broadcast_object_list(box, from_process=owner)
    return box[0]
