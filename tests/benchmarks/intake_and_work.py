"""Whether work goes on while a client streams in tasks: rates with and without, and who waits.

    python -m tests.benchmarks.intake_and_work [--seconds 5] [--tasks 100000] [--store full]

A broker, a worker that does nothing but answer, a client that streams in tasks as fast as they
are accepted, and another whose single tasks are urgent: each a process of its own. First the worker
works off a backlog alone, then while the stream lasts; the other client asks for one task after the
other all the time. What counts are the ratio of the two rates, as one run measures both, and the
other client's waits.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zmq
from attrs import evolve

from paintmq import Client, Task
from paintmq.broker.shell.server import BrokerServer
from paintmq.client.in_flight import LIMIT
from paintmq.config import QueueConfig
from paintmq.hookspecs import RegisterModel
from paintmq.identifiers import new_task_id
from paintmq.plugin.manager import PluginManager
from paintmq.process.garbage_collector import calm_collector
from paintmq.process.switch_interval import shared_often
from paintmq.task import TaskId, TaskRequest
from paintmq.testing.example_tasks import make_hello, make_spec
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptStarted,
    AttemptSucceeded,
    ClientHello,
    Heartbeat,
    Submit,
    Welcome,
)
from tests.benchmarks.page import run_with_page
from tests.harness.toy_broker import ToyPlugin, toy_config
from tests.harness.wire_peer import WirePeer

QUEUE, MODEL = "cpu-light", "batched"
ROOM = 1_000_000
"""Tasks that may wait."""
REQUEST = TaskRequest(id=TaskId(""), task_type="plugin", model=MODEL)
AHEAD = 5_000
"""Tasks that wait before the worker begins."""
HEARTBEAT = 2.0


class BatchedPlugin:
    """A model whose tasks are worked off by eight, as the cheap ones of the real plugins are."""

    def paintmq_register_models(self, register: RegisterModel) -> None:
        register(
            make_spec(MODEL, max_batch=8, batch_key=lambda job: "", run_seconds=lambda job: 0.001)
        )


def serve(journal: str) -> None:
    """Be a broker until the process is killed."""
    path = Path(journal) if journal else None
    config = toy_config(path, **({"durability": "full"} if path else {}))
    queues = {QUEUE: QueueConfig(capacity=ROOM)}
    limits = evolve(config.limits, max_tasks=ROOM, max_kept_tasks=2 * ROOM)
    plugins = PluginManager()
    plugins.register(ToyPlugin(), "toys")
    plugins.register(BatchedPlugin(), "batched")
    server = BrokerServer(evolve(config, queues=queues, limits=limits), plugins)

    def started() -> None:
        say({"client": server.client_endpoint, "queue": server.queue_endpoints[QUEUE]})

    with calm_collector(), shared_often():
        server.run(started)


def work(endpoint: str) -> None:
    """Be a worker that answers each task at once, until the process is killed."""
    hello = make_hello(queue=QUEUE, models=(MODEL,), credit=2)
    with WirePeer(endpoint, hello) as worker:
        beat_at = 0.0
        while True:
            if time.monotonic() > beat_at:
                worker.say(Heartbeat())
                beat_at = time.monotonic() + HEARTBEAT
            if not zmq.select([worker.socket], [], [], HEARTBEAT)[0]:
                continue
            for message in worker.take_all():
                if isinstance(message, Assign):
                    for item in message.assignments:
                        named: dict[str, Any] = {"task_id": item.task.id, "fence": item.fence}
                        worker.link.send(AttemptStarted(**named))
                        worker.link.send(AttemptSucceeded(**named, outputs=(), ran=0.001))
                    worker.say(Heartbeat())


def stream(endpoint: str, count: int) -> None:
    """Hand in so many tasks as fast as they are accepted, as many unanswered as with ``Client``."""
    os.nice(10)  # it stands for a client elsewhere: broker and worker must not starve beside it
    left = deque(evolve(REQUEST, id=new_task_id()) for _ in range(count))
    with WirePeer(endpoint, ClientHello(name="stream")) as client:
        client.hear(Welcome)
        say({"ready": True})
        sys.stdin.readline()
        began, accepted, unanswered = time.perf_counter(), 0, 0
        while accepted < count:
            while left and unanswered < LIMIT:
                client.link.send(Submit(left.popleft()))
                unanswered += 1
            client.say(Heartbeat())
            client.wait()
            answered = sum(isinstance(each, Accepted) for each in client.take_all())
            accepted, unanswered = accepted + answered, unanswered - answered
        say({"seconds": time.perf_counter() - began})
        while True:  # as a client that wants its results
            client.say(Heartbeat())
            client.take_all()
            time.sleep(HEARTBEAT)


def say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class Part:
    """A process with one of the roles above."""

    def __init__(self, stack: ExitStack, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "--part", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(self._end)

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        value: dict[str, Any] = json.loads(self.process.stdout.readline())
        return value

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Probe:
    """A client in a thread whose urgent tasks come one after the other."""

    def __init__(self, client: Client) -> None:
        self.waits: list[float] = []
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            began = time.perf_counter()
            self._client.submit(Task("plugin", {"model": MODEL}, priority=9)).result(timeout=60)
            self.waits.append(time.perf_counter() - began)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def line(self) -> str:
        waits = sorted(self.waits)
        p50, p99 = (waits[int(len(waits) * share)] * 1e3 for share in (0.5, 0.99))
        return f"one urgent task {p50:.1f} ms at p50, {p99:.1f} at p99 ({len(waits)} tasks)"


@contextmanager
def rate(client: Client) -> Iterator[list[float]]:
    """Put the tasks that succeeded a second within the block into the list."""
    result: list[float] = []
    before, began = succeeded(client), time.perf_counter()
    yield result
    result.append((succeeded(client) - before) / (time.perf_counter() - began))


def succeeded(client: Client) -> int:
    statistics: Any = client.ask("statistics", timeout=60)
    return int(statistics["queues"][QUEUE]["succeeded"])


def measure(store: str, seconds: float, count: int) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        journal = str(Path(folder) / "journal") if store == "full" else ""
        ports = Part(stack, "broker", journal).said()
        ahead = Part(stack, "stream", ports["client"], str(int(AHEAD + 4_000 * seconds)))
        flood = Part(stack, "stream", ports["client"], str(count))
        for part in (ahead, flood):
            part.said()
        client = stack.enter_context(Client(ports["client"]))
        ahead.go()
        intake = ahead.said()["seconds"]
        print(f"{store}: {(AHEAD + 4_000 * seconds) / intake:,.0f}/s handed in without a worker")
        Part(stack, "worker", ports["queue"])
        while not succeeded(client):
            time.sleep(0.05)
        with Probe(client) as calm, rate(client) as without:
            time.sleep(seconds)
        print(f"  alone: {without[0]:,.0f}/s worked off; {calm.line()}")
        with Probe(client) as probe, rate(client) as during:
            flood.go()
            intake = flood.said()["seconds"]
        share = during[0] / without[0]
        print(
            f"  while {count:,} tasks stream in: {during[0]:,.0f}/s worked off ({share:.0%}), "
            f"{count / intake:,.0f}/s handed in; {probe.line()}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument(
        "--store", nargs="+", choices=["memory", "full"], default=["memory", "full"]
    )
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    match arguments.part:
        case ["broker", journal]:
            serve(journal)
        case ["worker", endpoint]:
            work(endpoint)
        case ["stream", endpoint, count]:
            stream(endpoint, int(count))
        case _:
            for store in arguments.store:
                measure(store, arguments.seconds, arguments.tasks)


if __name__ == "__main__":
    run_with_page(main)
