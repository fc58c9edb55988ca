"""What the machine does for one small task, counted in calls: seconds depend on the machine's day.

A guard, not a goal. If it fails because a task now costs more, find out what for; if it costs much
less, lower the limits.
"""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.harness.broker_harness import ALICE, W1, make_machine

from paintmq.broker.machine import BrokerMachine
from paintmq.config import Limits, QueueConfig
from paintmq.testing.example_tasks import make_hello, make_request, make_spec
from paintmq.wire.messages import (
    Assign,
    Assignment,
    AttemptSucceeded,
    ClientHello,
    ResultReceived,
    Submit,
)

TASKS = 320
TOGETHER = 32
"""Messages that share a step, as those of one ZeroMQ message do."""
MOST_TO_ACCEPT = 126
MOST_TO_WORK_OFF = 188


class Calls:
    count = 0


@contextmanager
def counting() -> Iterator[Calls]:
    """Count calls of Python functions and of C functions within the block."""
    calls = Calls()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        calls.count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def batching_machine() -> BrokerMachine:
    spec = make_spec(max_batch=8, batch_key=lambda job: "", run_seconds=lambda job: 0.001)
    queues = {"cpu-light": QueueConfig(capacity=2 * TASKS)}
    machine = make_machine(specs=[spec], queues=queues, limits=Limits())
    machine.receive(ALICE, ClientHello(), now=1.0)
    return machine


def submit_all(machine: BrokerMachine) -> None:
    for number in range(TASKS):
        machine.take_in(ALICE, Submit(make_request(f"{number:x}")), now=1.0)
        if number % TOGETHER == TOGETHER - 1:
            machine.finish(now=1.0)


def work_off(machine: BrokerMachine) -> int:
    """Let a worker answer everything at once, and the client confirm it; return how many."""
    step = machine.receive(W1, make_hello(models=("toy",), credit=4), now=1.0)
    waiting: deque[Assignment] = deque()
    ended = 0
    while True:
        for send in step.sends:
            if isinstance(send.message, Assign):
                waiting += send.message.assignments
        if not waiting:
            return ended
        for _ in range(min(TOGETHER, len(waiting))):
            item = waiting.popleft()
            ids = item.task.id, item.fence
            done = AttemptSucceeded(task_id=ids[0], fence=ids[1], outputs=(), ran=0.001)
            machine.take_in(W1, done, now=1.0)
            machine.take_in(ALICE, ResultReceived(ids[0]), now=1.0)
            ended += 1
        step = machine.finish(now=1.0)


def test_accepting_a_task_takes_a_bounded_number_of_calls() -> None:
    machine = batching_machine()
    submit_all(batching_machine())  # what is computed once, however many tasks there are
    with counting() as calls:
        submit_all(machine)

    assert calls.count / TASKS < MOST_TO_ACCEPT


def test_working_a_task_off_takes_a_bounded_number_of_calls() -> None:
    machine, before = batching_machine(), batching_machine()
    submit_all(before)
    work_off(before)
    submit_all(machine)
    with counting() as calls:
        ended = work_off(machine)

    assert ended == TASKS
    assert calls.count / TASKS < MOST_TO_WORK_OFF
