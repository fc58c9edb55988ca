"""Dramatiq with Redis as broker and for results; one process of one thread."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.peer_systems.system import (
    System,
    SystemMissingError,
    process,
    python,
    redis_server,
)


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    if find_spec("dramatiq") is None or find_spec("redis") is None:
        raise SystemMissingError("dramatiq[redis] is not installed")
    with redis_server(folder) as address:
        os.environ["PEERS_REDIS"] = address
        from tests.benchmarks.peer_systems import dramatiq_tasks

        options = ["--processes", "1", "--threads", "1"]
        with process(python("-m", "dramatiq", dramatiq_tasks.__name__, *options)):

            def result(message: Any) -> object:
                value: object = message.get_result(block=True, timeout=120_000)
                return value

            yield System(dramatiq_tasks.echo.send, dramatiq_tasks.invert.send, result)
