"""Python's garbage collector in a broker that runs as a process of its own."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (5_000, 5, 1_000)
"""Collect young objects often and old ones hardly ever. With Python's own (700, 10, 10) a broker
with 100,000 waiting tasks stopped for half a second at a time and spent a quarter of its time on
this; with these it stops for 8 ms at most and spends a twentieth."""


@contextmanager
def calm_collector() -> Iterator[None]:
    """Keep the collector from going through everything a broker knows.

    A task holds no reference cycles, so reference counts free it when it is forgotten, and a full
    collection finds almost nothing. Not for a broker embedded in another program, whose collector
    is not ours to tune.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # code and plugins live as long as the process
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
