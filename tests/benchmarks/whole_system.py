"""What a task costs from a program's call to its result: broker, node and client as real processes.

    python -m tests.benchmarks.whole_system [--seconds 5] [--durability memory process full] [--tcp]

The model does next to nothing, so all of it is the system's own. Cases: small tasks one after the
other and many at once, pictures of 12.6 MB (four at once), and tasks that pile up without a worker.
Beside them, in the same run, the same bytes go there and back through a broker of thirty lines that
promises nothing: compare with that, and processor time rather than rates, on a machine that others
use too. ``--tcp`` switches shared memory off. Prints one line a case.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
import zmq

from paintmq import Client, Task, TaskHandle, TaskType
from tests.benchmarks.page import run_with_page
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.trial_models import write_trial_distribution

RAW_BROKER = """
import zmq
context = zmq.Context()
front, back = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
for socket in (front, back):
    socket.set_hwm(0)
ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (front, back)]
print(*ports, flush=True)
worker, *_ = back.recv_multipart()
poller = zmq.Poller()
poller.register(front, zmq.POLLIN)
poller.register(back, zmq.POLLIN)
while True:
    for socket, _ in poller.poll():
        other = back if socket is front else front
        for _ in range(64):
            try:
                peer, *frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            if socket is front:
                client = peer
            other.send_multipart([worker if socket is front else client, *frames], copy=False)
"""
RAW_WORKER = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.set_hwm(0)
socket.connect(f"tcp://127.0.0.1:{sys.argv[1]}")
socket.send(b"ready")
while True:
    socket.send_multipart(socket.recv_multipart(copy=False), copy=False)
"""


class Clock:
    """Seconds, and processor seconds of each part, since it was made."""

    def __init__(self, parts: dict[str, psutil.Process]) -> None:
        self._parts = parts
        self._began, self._used = time.perf_counter(), self._so_far()

    def line(self, count: int) -> str:
        seconds = time.perf_counter() - self._began
        used = {part: now - self._used[part] for part, now in self._so_far().items()}
        each = ", ".join(f"{part} {cost / count * 1e6:,.0f}" for part, cost in used.items())
        total = sum(used.values()) / count * 1e6
        return f"{count / seconds:,.0f}/s; {total:,.0f} us of all processors each ({each})"

    def _so_far(self) -> dict[str, float]:
        return {
            part: sum(sum(each.cpu_times()[:2]) for each in (top, *top.children(recursive=True)))
            if part != "client"
            else sum(top.cpu_times()[:2])
            for part, top in self._parts.items()
        }


def tasks(side: int) -> Iterator[Task]:
    image = np.zeros((side, side, 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 4, : side // 4] = 255
    while True:
        yield Task(TaskType.INPAINT, {"model": "trial"}, {"image": image, "mask": mask})


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def measure(durability: str, seconds: float, *, tcp: bool = False) -> None:
    """Print the cases of a broker with that durability."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plugins = write_trial_distribution(folder / "plugins")
        environment = private_environment(
            folder,
            plugins=plugins,
            PAINTMQ_BROKER__PORT="0",
            PAINTMQ_BROKER__DURABILITY=durability,
            PAINTMQ_WORKERS__COUNT="1",
            PAINTMQ_TRANSPORT__SHARED_MEMORY=str(not tcp).lower(),
        )
        broker = stack.enter_context(CommandProcess(["broker"], environment))
        endpoint = broker.wait_for_line(r"tcp://[0-9.]+:\d+")[0]
        parts = {"client": psutil.Process(), "broker": psutil.Process(broker.process.pid)}
        client = stack.enter_context(Client(endpoint, max_tasks=10_000))
        print(f"durability {durability}")

        before, clock, count = parts["broker"].memory_info().rss, Clock(parts), 0
        handles = []
        for task in tasks(8):
            handles.append(client.submit(task, patient=True))
            count += 1
            if count == 5_000:
                break
        while client.ask("statistics")["accepted"] < count:  # type: ignore[index, call-overload, operator]
            time.sleep(0.05)
        memory = (parts["broker"].memory_info().rss - before) / count
        print(f"  piled up, no worker: {clock.line(count)}; {memory:,.0f} bytes of the broker each")

        node = stack.enter_context(CommandProcess(["node", "--connect", endpoint], environment))
        parts["node and host"] = psutil.Process(node.process.pid)
        handles[0].result()
        clock = Clock(parts)
        for handle in handles[1:]:
            handle.result()
        print(f"  worked off: {clock.line(count - 1)}")

        for title, side, ahead in (
            ("small, one by one", 8, 1),
            ("small, 256 at once", 8, 256),
            ("12.6 MB, one by one", 2048, 1),
            ("12.6 MB, 4 at once", 2048, 4),
        ):
            print(f"  {title}: {run(client, parts, side=side, ahead=ahead, seconds=seconds)}")


def run(
    client: Client, parts: dict[str, psutil.Process], *, side: int, ahead: int, seconds: float
) -> str:
    """Keep so many tasks under way for so long, and return a line about it."""
    under_way: deque[tuple[float, TaskHandle]] = deque()
    waits: list[float] = []
    clock, until = Clock(parts), time.perf_counter() + seconds
    for task in tasks(side):
        under_way.append((time.perf_counter(), client.submit(task)))
        if len(under_way) == ahead:
            began, handle = under_way.popleft()
            handle.result()
            waits.append(time.perf_counter() - began)
            if time.perf_counter() > until:
                break
    line = clock.line(len(waits))
    for _, handle in under_way:
        handle.result()
    middle, late = percentile(waits, 0.5) * 1e3, percentile(waits, 0.99) * 1e3
    return f"{line}; {middle:.1f} ms at p50, {late:.1f} at p99"


def measure_raw(seconds: float) -> None:
    """Print the cases of a broker that forwards frames and keeps nothing."""
    with ExitStack() as stack:
        broker = subprocess.Popen(
            [sys.executable, "-c", RAW_BROKER], stdout=subprocess.PIPE, text=True
        )
        stack.callback(broker.wait)
        stack.callback(broker.kill)
        assert broker.stdout is not None
        front, back = broker.stdout.readline().split()
        worker = subprocess.Popen([sys.executable, "-c", RAW_WORKER, back])
        stack.callback(worker.wait)
        stack.callback(worker.kill)
        parts = {
            "client": psutil.Process(),
            "broker": psutil.Process(broker.pid),
            "worker": psutil.Process(worker.pid),
        }
        context = stack.enter_context(zmq.Context())
        socket = stack.enter_context(context.socket(zmq.DEALER))
        socket.set_hwm(0)
        socket.connect(f"tcp://127.0.0.1:{front}")
        print("raw: frames there and back, no promise")
        for title, size, ahead in (
            ("small, one by one", 200, 1),
            ("small, 256 at once", 200, 256),
            ("12.6 MB, one by one", 2048 * 2048 * 3, 1),
            ("12.6 MB, 4 at once", 2048 * 2048 * 3, 4),
        ):
            data = bytes(size)
            sent: deque[float] = deque()
            waits: list[float] = []
            clock, until = Clock(parts), time.perf_counter() + seconds
            while time.perf_counter() < until:
                sent.append(time.perf_counter())
                socket.send_multipart([b"header", data], copy=False)
                if len(sent) == ahead:
                    socket.recv_multipart(copy=False)
                    waits.append(time.perf_counter() - sent.popleft())
            line = clock.line(len(waits))
            for _ in sent:
                socket.recv_multipart(copy=False)
            middle, late = percentile(waits, 0.5) * 1e3, percentile(waits, 0.99) * 1e3
            print(f"  {title}: {line}; {middle:.1f} ms at p50, {late:.1f} at p99")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tcp", action="store_true", help="without shared memory")
    parser.add_argument(
        "--durability",
        nargs="+",
        choices=["memory", "process", "full"],
        default=["memory", "process", "full"],
    )
    arguments = parser.parse_args()
    measure_raw(arguments.seconds)
    for durability in arguments.durability:
        measure(durability, arguments.seconds, tcp=arguments.tcp)


if __name__ == "__main__":
    run_with_page(main)
