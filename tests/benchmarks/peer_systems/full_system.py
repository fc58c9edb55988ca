"""PaintMQ with ``durability = "full"``: what is accepted outlives a loss of power."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.peer_systems import paintmq_system
from tests.benchmarks.peer_systems.system import System


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    with paintmq_system.open_system(folder, durability="full") as system:
        yield system
