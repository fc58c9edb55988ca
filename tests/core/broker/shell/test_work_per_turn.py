"""What a turn of the loop does when there is nothing to do, counted in calls.

Small tasks that come one by one cost as many turns as they have messages, so this is what they
wait for. A guard, not a goal, as ``machine/test_work_per_task.py`` is.
"""

import sys
import threading
from types import FrameType

import pytest
from attrs import evolve
from tests.harness.toy_broker import toy_config, toy_plugins

from paintmq.broker.shell.loop import BrokerLoop
from paintmq.broker.shell.server import BrokerServer
from paintmq.config import DEFAULT_QUEUE_CONFIGS
from paintmq.testing.example_tasks import PATIENCE

TURNS = 60
MOST_CALLS = 135


def test_a_turn_without_anything_to_do_takes_a_bounded_number_of_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: list[int] = []
    enough = threading.Event()
    run_once = BrokerLoop.run_once

    def counted(loop: BrokerLoop, **more: float) -> None:
        calls = 0

        def profile(frame: FrameType, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        loop._wakeup.set()
        sys.setprofile(profile)
        try:
            run_once(loop, **more)
        finally:
            sys.setprofile(None)
        counts.append(calls)
        if len(counts) >= TURNS:
            enough.set()

    monkeypatch.setattr(BrokerLoop, "run_once", counted)
    queues = {name: evolve(queue, port=0) for name, queue in DEFAULT_QUEUE_CONFIGS.items()}
    with BrokerServer(evolve(toy_config(), queues=queues), toy_plugins()):
        assert enough.wait(PATIENCE)

    # Now and then a turn inspects all connections, or the first ones make what is kept.
    assert sorted(counts)[len(counts) // 2] < MOST_CALLS
