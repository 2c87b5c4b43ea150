"""The threads that decode: one pool per process, with a thread for each processor that it may use."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

from resdense_keras.data import cgroups
from resdense_keras.errors import RequestError


def usable_processors():
    """Number of processors that this process may use: its affinity, or its container's share if that is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, cgroups.processors() or allowed)


def try_all(function, items):
    """Runs `function` on the items in the pool: a list of results, and {position: reason} of RequestErrors.

    `function` must not use the pool itself: the inner call would wait for a thread that waits for it.
    """

    def attempt(item):
        try:
            return function(item), None
        except RequestError as error:
            return None, error.message

    outcomes = list(_pool().map(attempt, items))
    reasons = {position: reason for position, (_, reason) in enumerate(outcomes) if reason}
    return [result for result, _ in outcomes], reasons


@functools.cache
def _pool():
    # Pillow gives up the interpreter's lock while it decodes.
    return ThreadPoolExecutor(usable_processors(), thread_name_prefix="decode")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
