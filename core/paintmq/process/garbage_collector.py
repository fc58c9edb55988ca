"""Python's garbage collector in a broker that runs as a process of its own."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (5_000, 5, 1_000)
"""Young objects are looked at often, old ones hardly ever. With Python's own (700, 10, 10) a broker
with 100,000 waiting tasks stood still for half a second at a time, and spent a quarter of its work
on this; with these for 8 ms at most, and a twentieth."""


@contextmanager
def calm_collector() -> Iterator[None]:
    """Keep the collector from going through everything a broker knows.

    What a task is made of is freed when the task is forgotten, by reference counts; there is little
    to find in what has lived for long. Not for a broker inside another's program, whose collector
    is not ours.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # code and plugins: they stay for good
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
