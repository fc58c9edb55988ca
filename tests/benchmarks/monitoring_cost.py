"""What statistics, history and events cost: the same work with monitoring and without, in turns.

    python -m tests.benchmarks.monitoring_cost [--seconds 4] [--rounds 3] [--durability memory]

One broker and node with ``monitoring.enabled`` and one without run at once; small tasks, 256 under
way, go to one and then to the other, several times. Compare processor time a task: rates depend on
what else the machine does.
"""

import argparse
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq import Client, TaskHandle
from tests.benchmarks.page import run_with_page
from tests.benchmarks.whole_system import tasks
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.trial_models import write_trial_distribution

AHEAD = 256


class Side:
    """A broker with one worker."""

    def __init__(self, stack: ExitStack, folder: Path, durability: str, *, monitored: bool) -> None:
        environment = private_environment(
            folder,
            plugins=write_trial_distribution(folder / "plugins"),
            PAINTMQ_BROKER__PORT="0",
            PAINTMQ_BROKER__DURABILITY=durability,
            PAINTMQ_WORKERS__COUNT="1",
            PAINTMQ_MONITORING__ENABLED=str(monitored).lower(),
        )
        broker = stack.enter_context(CommandProcess(["broker"], environment))
        endpoint = broker.wait_for_line(r"tcp://[0-9.]+:\d+")[0]
        node = stack.enter_context(CommandProcess(["node", "--connect", endpoint], environment))
        self.client = stack.enter_context(Client(endpoint, max_tasks=10_000))
        self.client.submit(next(tasks(8))).result(timeout=60)
        self._processes = [psutil.Process(broker.process.pid), psutil.Process(node.process.pid)]
        self.count, self.seconds, self.broker, self.all = 0, 0.0, 0.0, 0.0

    def work(self, seconds: float) -> None:
        """Keep tasks under way for so long, and add up what they took."""
        under_way: deque[TaskHandle] = deque()
        broker, everything = self._used()
        began = time.perf_counter()
        for task in tasks(8):
            under_way.append(self.client.submit(task))
            if len(under_way) == AHEAD:
                under_way.popleft().result(timeout=60)
                self.count += 1
                if time.perf_counter() - began > seconds:
                    break
        for handle in under_way:
            handle.result(timeout=60)
        self.count += len(under_way)
        self.seconds += time.perf_counter() - began
        broker_now, everything_now = self._used()
        self.broker += broker_now - broker
        self.all += everything_now - everything

    def _used(self) -> tuple[float, float]:
        """Return the processor seconds of the broker, and of all three."""
        times = [
            sum(sum(each.cpu_times()[:2]) for each in (top, *top.children(recursive=True)))
            for top in self._processes
        ]
        return times[0], sum(times) + sum(psutil.Process().cpu_times()[:2])

    def line(self) -> str:
        return (
            f"{self.count / self.seconds:,.0f}/s, {self.broker / self.count * 1e6:.0f} us of the "
            f"broker's processor a task, {self.all / self.count * 1e6:.0f} us of all"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--durability", choices=["memory", "process", "full"], default="memory")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = {}
        for name in ("with", "without"):
            (folder / name).mkdir()
            sides[name] = Side(stack, folder / name, arguments.durability, monitored=name == "with")
        for number in range(arguments.rounds):
            # The second of a pair runs on a warmer machine: take turns in being it.
            for name in sorted(sides, reverse=bool(number % 2)):
                sides[name].work(arguments.seconds)
        for name, side in sides.items():
            print(f"{name} monitoring: {side.line()}")
        share = (sides["without"].all / sides["without"].count) / (
            sides["with"].all / sides["with"].count
        )
        print(f"throughput by processor time with monitoring: {share:.1%} of that without")


if __name__ == "__main__":
    run_with_page(main)
