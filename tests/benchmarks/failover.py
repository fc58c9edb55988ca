"""Kills and pauses the leading broker under load, with a real PostgreSQL, and measures the rest.

    python -m tests.benchmarks.failover --rounds 50

Two brokers stand by for each other; one node and one client follow both addresses. In every other
round the leader is killed (SIGKILL) and started again; in the others it is stopped (SIGSTOP) and
goes on (SIGCONT) once another leads. ``failover_judge.py`` then says whether a task was lost or
ended twice.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import psycopg
from attrs import define, field

from paintmq import Client, Task, TaskType
from paintmq.config import DEFAULT_QUEUE_CONFIGS
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.free_ports import free_ports
from tests.harness.postgres import PostgresServer
from tests.harness.trial_models import write_trial_distribution

Fault: TypeAlias = Literal["kill", "pause"]

PATIENCE = 90.0
"""Seconds in which something must happen that is waited for."""
JUDGE = Path(__file__).with_name("failover_judge.py")


@define
class Load:
    """Hands in a task every now and then, and notes what it is told."""

    client: Client
    notes: Path
    pause: float
    last_ending: float = field(default=0.0, init=False)
    waiting: int = field(default=0, init=False)
    _ended: threading.Event = field(factory=threading.Event, init=False)
    _changed: threading.Condition = field(factory=threading.Condition, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def finish(self) -> None:
        """Hand in nothing more, and return when every task has ended."""
        self._ended.set()
        assert self._thread is not None
        self._thread.join()
        with self._changed:
            assert self._changed.wait_for(lambda: not self.waiting, 2 * PATIENCE), self.waiting

    def wait_for_ending_after(self, when: float) -> float:
        """Return when a task ended next, on the monotonic clock."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.last_ending > when, PATIENCE)
            return self.last_ending

    def _run(self) -> None:
        image, mask = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
        while not self._ended.wait(self.pause):
            task = Task(
                task_type=TaskType.INPAINT,
                config={"model": "trial", "do": "paint", "seconds": 0.0},
                inputs={"image": image, "mask": mask},
            )
            self._note(task=task.id, what="submitted")
            with self._changed:
                self.waiting += 1
            self.client.submit(task).add_done_callback(self._note_end)

    def _note_end(self, handle: Any) -> None:
        self._note(
            task=handle.id, what="ended", state=handle.state.value, error=str(handle.error or "")
        )
        with self._changed:
            self.waiting -= 1
            self.last_ending = time.monotonic()
            self._changed.notify_all()

    def _note(self, **fields: str) -> None:
        with self._changed, self.notes.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")


class Cluster:
    """The database and the processes."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._plugins = write_trial_distribution(folder / "plugins")
        self.database = stack.enter_context(PostgresServer(fsync=True))
        self._ports = [free_ports(1 + len(DEFAULT_QUEUE_CONFIGS)) for _ in range(2)]
        self.endpoint = ",".join(f"tcp://127.0.0.1:{ports[0]}" for ports in self._ports)
        self.brokers = [self._start_broker(number) for number in range(2)]

    def environment(self, number: int) -> dict[str, str]:
        client_port, *ports = self._ports[number]
        home = self._folder / f"home-{number}"
        home.mkdir(exist_ok=True)
        queues = {
            f"PAINTMQ_QUEUES__{name.upper().replace('-', '_')}__PORT": str(port)
            for name, port in zip(DEFAULT_QUEUE_CONFIGS, ports, strict=True)
        }
        more = {"PAINTMQ_BROKER__JOURNAL": self.database.address, "PAINTMQ_WORKERS__COUNT": "1"}
        variables = {"PAINTMQ_BROKER__PORT": str(client_port), **queues, **more}
        return private_environment(home, plugins=self._plugins, **variables)

    def start_node(self) -> CommandProcess:
        node = CommandProcess(["node", "--connect", self.endpoint], self.environment(0))
        self._stack.enter_context(node).wait_for_line("workers of this machine serve")
        return node

    def _start_broker(self, number: int) -> CommandProcess:
        broker = CommandProcess(["broker", "--standby"], self.environment(number))
        return self._stack.enter_context(broker)

    def leader(self) -> tuple[int, int]:
        """Return which broker leads, and its epoch."""
        name, epoch = self.ask("SELECT name, epoch FROM paintmq.leader")
        found = re.search(r"process (\d+)", name)
        pids = [each.process.pid for each in self.brokers]
        return pids.index(int(found[1])) if found else -1, epoch

    def boots(self) -> int:
        question = "SELECT count(*) FROM paintmq.log WHERE position('BrokerBooted' IN record) > 0"
        return int(self.ask(question)[0])

    def ask(self, question: str) -> tuple[Any, ...]:
        with psycopg.connect(self.database.address) as connection:
            row = connection.execute(question).fetchone()  # type: ignore[arg-type,unused-ignore]
        assert row is not None
        return row

    def replace(self, number: int) -> None:
        """Start a broker that was killed again, and wait until it stands by."""
        self.brokers[number].wait()
        self.brokers[number] = self._start_broker(number)
        self.brokers[number].wait_for_line("standing by:")


@define
class Takeover:
    fault: Fault
    led: float
    """Seconds until another broker led, and had told the journal so."""
    ended: float
    """Seconds until the client was told the next ending."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def one_round(cluster: Cluster, load: Load, fault: Fault) -> Takeover:
    number, _ = cluster.leader()
    leader, boots = cluster.brokers[number], cluster.boots()
    began = time.monotonic()
    leader.process.send_signal(signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
    wait_until(lambda: cluster.boots() > boots)
    led = time.monotonic()
    ended = load.wait_for_ending_after(led)
    if fault == "kill":
        cluster.replace(number)
    else:
        leader.process.send_signal(signal.SIGCONT)
        leader.wait_for_line("standing by again")
        leader.wait_for_line("standing by:")
    return Takeover(fault, led - began, ended - began)


def run(rounds: int, *, tasks_a_second: float, say: Callable[[str], object]) -> list[Takeover]:
    """Run the rounds and have them judged.

    Raises:
        AssertionError: a promise was broken.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="pmq-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        cluster = Cluster(stack, folder)
        wait_until(lambda: cluster_leads(cluster))
        standby = cluster.brokers[1 - cluster.leader()[0]]
        standby.wait_for_line("standing by:")
        node = cluster.start_node()
        client = stack.enter_context(Client(cluster.endpoint))
        load = Load(client, folder / "notes", 1 / tasks_a_second)
        load.start()
        try:
            load.wait_for_ending_after(0.0)
            for number in range(rounds):
                fault: Fault = "pause" if number % 2 else "kill"
                found.append(one_round(cluster, load, fault))
                say(f"round {number + 1}: {found[-1]}")
        finally:
            load.finish()
        judged = subprocess.run(
            [sys.executable, str(JUDGE), cluster.database.address, str(load.notes)],
            capture_output=True,
            text=True,
            check=False,
        )
        node.process.send_signal(signal.SIGTERM)
        node.wait()
    say(judged.stdout)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    return found


def cluster_leads(cluster: Cluster) -> bool:
    try:
        return cluster.boots() > 0
    except psycopg.Error:
        return False  # there are no tables yet


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=50)
    options.add_argument("--rate", type=float, default=20.0, help="tasks a second")
    chosen = options.parse_args()
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    found = run(chosen.rounds, tasks_a_second=chosen.rate, say=lambda text: print(text, flush=True))
    for fault in ("kill", "pause"):
        of = [each for each in found if each.fault == fault]
        for what in ("led", "ended"):
            seconds = [getattr(each, what) for each in of]
            print(
                f"{fault}: {what} after {statistics.median(seconds):.1f} s (median), "
                f"{max(seconds):.1f} s (worst of {len(of)})"
            )


if __name__ == "__main__":
    main()
