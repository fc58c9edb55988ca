"""Ray: one actor, ``remote`` and ``get``. Arrays go through its shared object store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.benchmarks.peer_systems.system import Picture, System, SystemMissingError


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    try:
        import ray
    except ImportError as error:
        raise SystemMissingError("ray is not installed") from error

    class Worker:
        """Does one task after another."""

        def echo(self, payload: bytes) -> bytes:
            return payload

        def invert(self, picture: Picture) -> Picture:
            return np.bitwise_not(picture)

    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        actor = ray.remote(num_cpus=1)(Worker).remote()
        yield System(actor.echo.remote, actor.invert.remote, ray.get)
    finally:
        ray.shutdown()
