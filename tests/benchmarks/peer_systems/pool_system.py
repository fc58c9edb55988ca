"""ProcessPoolExecutor of the standard library: no broker, no other machine, nothing is kept."""

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peer_systems.system import Picture, System


def echo(payload: bytes) -> bytes:
    return payload


def invert(picture: Picture) -> Picture:
    return np.bitwise_not(picture)


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:

        def result(future: "Future[Any]") -> object:
            return future.result(120)

        yield System(
            lambda payload: pool.submit(echo, payload),
            lambda picture: pool.submit(invert, picture),
            result,
        )
