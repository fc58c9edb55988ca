"""A broker with toy models in a process of its own: its memory, its pauses and its death are seen
from outside, and nothing that is done to it can end the program that watches.

``python -m tests.harness.broker_process SETTINGS`` is that process; ``BrokerProcess`` starts it.
"""

import itertools
import json
import logging
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]  # it ships no types
from attrs import evolve

from paintmq.broker.shell.server import BrokerServer
from paintmq.config import Limits, Timers
from paintmq.process.garbage_collector import calm_collector
from paintmq.process.switch_interval import shared_often
from tests.harness.toy_broker import by_pipes, toy_config, toy_plugins


class BrokerProcess:
    """Use it in a ``with`` statement, which leaves no process behind.

    Args:
        transport: of all its queues.
        journal: where it keeps its tasks; None: in memory.
        stall: seconds for which ``stall`` holds its loop.
        broker: settings of BrokerConfig.
        limits: settings of Limits.
        timers: settings of Timers.
    """

    client_endpoint: str
    queue_endpoints: Mapping[str, str]

    def __init__(
        self,
        *,
        transport: str = "router",
        journal: Path | None = None,
        stall: float = 0.0,
        broker: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        timers: Mapping[str, Any] | None = None,
    ) -> None:
        settings = {
            "transport": transport,
            "journal": str(journal) if journal is not None else None,
            "stall": stall,
            "broker": broker or {},
            "limits": limits or {},
            "timers": timers or {},
        }
        self._command = [sys.executable, "-m", __name__, json.dumps(settings)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            self._end()
            raise RuntimeError("the broker did not start; its reason is on stderr")
        endpoints = json.loads(said)
        self.client_endpoint = endpoints["clients"]
        self.queue_endpoints = endpoints["queues"]
        self._seen = psutil.Process(self._process.pid)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def memory(self) -> int:
        """Return the bytes it holds in main memory."""
        return int(self._seen.memory_info().rss)

    def close_the_door(self) -> None:
        """Let it open no more files, nor accept connections, until ``open_the_door``."""
        taken = {int(path.name) for path in Path(f"/proc/{self._process.pid}/fd").iterdir()}
        # Numbers below the limit are all taken, so the system has none to give.
        free = next(number for number in itertools.count() if number not in taken)
        self._files = resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (free, self._files[1]))

    def open_the_door(self) -> None:
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, self._files)

    def stall(self) -> None:
        """Hold its loop for as long as its settings say, from now on."""
        self._process.send_signal(signal.SIGUSR1)

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main() -> None:
    """Serve until the process is killed."""
    # What strangers do wrong is expected here, and would bury what matters.
    logging.basicConfig(level=logging.ERROR)
    settings = json.loads(sys.argv[1])
    journal = Path(settings["journal"]) if settings["journal"] else None
    config = toy_config(journal, **settings["broker"])
    config = evolve(
        config, limits=Limits(**settings["limits"]), timers=Timers(**settings["timers"])
    )
    if settings["transport"] == "pushpull":
        config = by_pipes(config)
    server = BrokerServer(config, toy_plugins())
    # Signal handlers run in the main thread, which is the broker's: so it waits, as for a disk.
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(settings["stall"]))

    def started() -> None:
        endpoints = {"clients": server.client_endpoint, "queues": dict(server.queue_endpoints)}
        sys.stdout.write(json.dumps(endpoints) + "\n")
        sys.stdout.flush()

    with calm_collector(), shared_often():  # as in the command's process
        server.run(started)


if __name__ == "__main__":
    main()
