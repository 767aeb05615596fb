"""Cores that may be used, and threads of scikit-learn's trees."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which OpenMP has one thread: boosted trees on a few thousand rows only wait for a second one."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="openmp")
