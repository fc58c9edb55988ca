"""Celery with Redis as broker and for results; one worker process of its default pool."""

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
    if find_spec("celery") is None or find_spec("redis") is None:
        raise SystemMissingError("celery[redis] is not installed")
    with redis_server(folder) as address:
        os.environ["PEERS_REDIS"] = address
        from tests.benchmarks.peer_systems import celery_tasks

        options = ["-c", "1", "-l", "ERROR", "--without-gossip", "--without-mingle"]
        command = python("-m", "celery", "-A", celery_tasks.__name__, "worker", *options)
        with process(command, os.environ | {"C_FORCE_ROOT": "1"}):

            def result(handle: Any) -> object:
                value: object = handle.get(timeout=120)
                return value

            yield System(celery_tasks.echo.delay, celery_tasks.invert.delay, result)
