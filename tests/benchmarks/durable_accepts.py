"""Durable accepts a second through a real broker, and how long its loop is away from its sockets.

``python -m tests.benchmarks.durable_accepts [--rate 3000] [--seconds 5] [--durability full]``: a
client in a process of its own offers tasks at a steady rate. Printed are what was offered and
accepted, the time from submitting to having the promise, and the loop's lag: how long one turn
keeps the loop from the next message. To compare: a prototype of the commit path took 3,000 a
second with a lag of 3.1 ms at the 99th percentile, on a disk whose fdatasync takes 6.4 ms.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from paintmq.broker.shell.loop import BrokerLoop
from paintmq.broker.shell.server import BrokerServer
from paintmq.config import QueueConfig
from paintmq.process.garbage_collector import calm_collector
from paintmq.process.switch_interval import shared_often
from paintmq.wire.messages import Accepted, ClientHello, Submit, Welcome
from tests.benchmarks.page import run_with_page
from tests.harness.toy_broker import toy_config, toy_plugins, toy_task
from tests.harness.wire_peer import WirePeer


class WatchedPoller:
    """Times the turns between two polls."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self._began = time.perf_counter()
        self.turns: list[float] = []

    def poll(self, timeout: float) -> Any:
        self.turns.append(time.perf_counter() - self._began)
        ready = self._poller.poll(timeout)
        self._began = time.perf_counter()
        return ready


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def offer(endpoint: str, rate: float, seconds: float) -> None:
    """Submit at that rate, and print what came of it."""
    submitted: dict[str, float] = {}
    waits: list[float] = []
    with WirePeer(endpoint, ClientHello(name="benchmark")) as client:
        client.hear(Welcome)
        began = time.perf_counter()
        total = int(rate * seconds)
        while len(waits) < total and time.perf_counter() - began < 4 * seconds:
            due = min(total, int((time.perf_counter() - began) * rate) + 1)
            while len(submitted) < due:
                request = toy_task()
                submitted[request.id] = time.perf_counter()
                client.say(Submit(request))
            client.socket.poll(1)
            heard = client.take_all()
            now = time.perf_counter()
            waits += [now - submitted[m.task_id] for m in heard if isinstance(m, Accepted)]
        took = time.perf_counter() - began
    print(
        f"offered {rate:.0f}/s, accepted {len(waits) / took:.0f}/s; submitting to promise "
        f"{percentile(waits, 0.5) * 1e3:.1f} ms at p50, "
        f"{percentile(waits, 0.99) * 1e3:.1f} ms at p99"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=3000.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--durability", choices=("full", "process", "memory"), default="full")
    parser.add_argument("--offer-to", default="")
    chosen = parser.parse_args()
    if chosen.offer_to:
        offer(chosen.offer_to, chosen.rate, chosen.seconds)
        return
    with tempfile.TemporaryDirectory() as folder:
        config = evolve(
            toy_config(Path(folder) / "journal", durability=chosen.durability),
            queues={"cpu-light": QueueConfig(capacity=10**9, max_bytes=10**15)},
        )
        server = BrokerServer(config, toy_plugins())
        with server, calm_collector(), shared_often():  # as in a broker's own process
            loop: BrokerLoop = server._opened.loop  # type: ignore[union-attr]
            poller = WatchedPoller(loop._poller)
            loop._poller = poller  # type: ignore[assignment]
            offered = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.durable_accepts",
                    f"--rate={chosen.rate}",
                    f"--seconds={chosen.seconds}",
                    f"--offer-to={server.client_endpoint}",
                ],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            print(offered.stdout, end="")
            server.stop(grace=0)
        print(
            f"loop lag {percentile(poller.turns, 0.5) * 1e3:.2f} ms at p50, "
            f"{percentile(poller.turns, 0.99) * 1e3:.2f} ms at p99, "
            f"{max(poller.turns) * 1e3:.1f} ms at most, over {len(poller.turns)} turns"
        )


if __name__ == "__main__":
    run_with_page(main)
