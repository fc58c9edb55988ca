"""Does a client's machine keep anything of the tasks it has brought to their endings?

python -m tests.benchmarks.machine_memory [TASKS]

The pure machine alone, without sockets and payloads, with 16 tasks under way at a time: a million
take a minute. Prints one line of JSON: the memory of the process in MB, by tasks submitted.
"""

import json
import random
import sys
from collections import deque

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq.client.commands import TaskEnded
from paintmq.client.machine import ClientMachine
from paintmq.task import PayloadInfo, TaskId, TaskRequest, TaskState
from paintmq.wire.messages import Accepted, Finished, Welcome
from tests.benchmarks.page import run_with_page

UNDER_WAY = 16
SECONDS_A_TASK = 0.003
IMAGE = PayloadInfo(name="image", size=100, digest="0" * 64, kind="file")


def measure(count: int) -> dict[int, float]:
    """Submit the tasks, let each be accepted and succeed, and measure now and then."""
    process, machine, now = psutil.Process(), ClientMachine(random.Random(1)), 0.0
    machine.opened(now=now)
    machine.receive(Welcome(incarnation=1, durable_sequence=0, heartbeat=5.0), now=now)
    under_way, ended, memory = deque[TaskId](), 0, dict[int, float]()
    for number in range(1, count + 1):
        now += SECONDS_A_TASK
        task_id = TaskId(f"{number:032x}")
        request = TaskRequest(id=task_id, task_type="inpaint", model="opencv", inputs=(IMAGE,))
        machine.submit(request, now=now)
        machine.receive(Accepted(task_id=task_id, queue="q", durable_sequence=number), now=now)
        under_way.append(task_id)
        if len(under_way) == UNDER_WAY:
            finished = Finished(task_id=under_way.popleft(), state=TaskState.SUCCEEDED)
            commands = machine.receive(finished, now=now)
            ended += any(isinstance(command, TaskEnded) for command in commands)
        machine.tick(now=now)
        if number in (count // 100, count // 10, count):
            memory[number] = round(process.memory_info().rss / 2**20, 1)
    assert ended == count - machine.unfinished == count - len(under_way), "a task was lost"
    return memory


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(json.dumps(measure(count)))


if __name__ == "__main__":
    run_with_page(main)
