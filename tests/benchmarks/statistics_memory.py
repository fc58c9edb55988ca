"""Does a broker's memory grow with the tasks it has counted, or with the tenants they were of?

    python -m tests.benchmarks.statistics_memory [TASKS] [TENANTS]

The broker's machine with its ledger, events and history, without sockets and payloads: each task is
accepted, leased, succeeds, is confirmed and forgotten; 16 are under way. By default a million tasks
of 10,000 tenants. Prints one line of JSON: megabytes of the process, by tasks done.
"""

import json
import sys

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq.broker.accounting.chronicle import Chronicle
from paintmq.broker.accounting.events import EventLog
from paintmq.broker.accounting.happening import Happening
from paintmq.broker.accounting.ledger import MOST_TENANTS, Ledger
from paintmq.broker.accounting.report import report
from paintmq.broker.machine import BrokerMachine, Step
from paintmq.broker.stores.statistics_file import StatisticsFile
from paintmq.config import Timers
from paintmq.task import TaskId, TaskRequest
from paintmq.testing.example_tasks import make_hello
from paintmq.wire.messages import Assign, AttemptSucceeded, ClientHello, ResultReceived, Submit
from tests.benchmarks.page import run_with_page
from tests.harness.broker_harness import ALICE, W1, make_machine

UNDER_WAY = 16
SECONDS_A_TASK = 0.003


class CountedBroker:
    """A machine whose every happening is counted as a broker's shell does it."""

    def __init__(self) -> None:
        self.ledger, self.events, self.chronicle = Ledger(), EventLog(), Chronicle()
        waiting: list[Happening] = self.ledger.waiting
        self.machine: BrokerMachine = make_machine(
            timers=Timers(result_kept=1.0), observe=waiting.append
        )
        self.file = StatisticsFile(None)
        self.file.open()
        self.now, self.looked = 1e9, 1e9
        self.machine.receive(ALICE, ClientHello(), now=self.now)
        self.machine.receive(W1, make_hello(name="node/cpu-0", credit=UNDER_WAY), now=self.now)

    def run(self, number: int, tenant: str) -> int:
        """Submit a task and end those that were leased; return how many ended."""
        self.now += SECONDS_A_TASK
        request = TaskRequest(
            id=TaskId(f"{number:012x}7abc8abc{number:012x}"),
            task_type="plugin",
            model="toy",
            tenant=tenant,
        )
        step = self.machine.receive(ALICE, Submit(request), now=self.now)
        ended = self.end(step)
        self.machine.tick(now=self.now)
        self.events.add(self.ledger.settle(), now=self.now)
        if self.now - self.looked >= 1.0:
            self.looked = self.now
            self.machine.receive(ALICE, ClientHello(), now=self.now)
            self.ledger.look(self.now)
            counts = self.machine.statistics(now=self.now)
            self.file.write_points(self.chronicle.take(self.ledger, counts, now=self.now), self.now)
        return ended

    def end(self, step: Step) -> int:
        ended = 0
        for send in step.sends:
            if not isinstance(send.message, Assign):
                continue
            for item in send.message.assignments:
                message = AttemptSucceeded(
                    task_id=item.task.id, fence=item.fence, outputs=(), ran=0.001
                )
                following = self.machine.receive(W1, message, now=self.now)
                self.machine.receive(ALICE, ResultReceived(item.task.id), now=self.now)
                ended += 1 + self.end(following)
        return ended


def measure(count: int, tenants: int) -> dict[int, float]:
    """Run the tasks; return the megabytes in use on the way, by tasks done."""
    process, broker, ended = psutil.Process(), CountedBroker(), 0
    memory = dict[int, float]()
    marks = {count * part // 10 for part in range(1, 11)} | {count // 100}
    for number in range(1, count + 1):
        ended += broker.run(number, f"tenant-{number % tenants}")
        if number in marks:
            memory[number] = round(process.memory_info().rss / 2**20, 1)
    shown = report(broker.machine.statistics(now=broker.now), broker.ledger, ())
    assert shown.total("succeeded") == ended == shown.accepted == count, "a task was not counted"
    assert sum(each.accepted for each in shown.tenants.values()) == count
    assert len(shown.tenants) <= MOST_TENANTS + 1
    broker.file.close()
    return memory


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    tenants = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    print(json.dumps(measure(count, tenants)))


if __name__ == "__main__":
    run_with_page(main)
