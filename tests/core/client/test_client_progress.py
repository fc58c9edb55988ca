"""What a handle tells on the way to the end, of either client."""

import threading
from typing import Any

import numpy as np
import pytest
from tests.harness.any_client import AnyClient, accepts, ends, make_task
from tests.harness.client_port import ScriptedBroker

from paintmq import TaskState
from paintmq.image import payload_of_array
from paintmq.wire.messages import (
    Progressed,
    Submit,
)


def test_why_a_task_waits_is_told_by_its_handle(client: AnyClient, broker: ScriptedBroker) -> None:
    broker.when(Submit, lambda m: [accepts(m, "no worker has model lama")])
    handle = client.submit(make_task())
    updates = handle.updates(30)
    while next(updates).state is not TaskState.QUEUED:
        pass

    assert handle.waiting_for == "no worker has model lama"
    assert handle.queue == "cpu-light"


def test_updates_show_the_way_to_the_end(client: AnyClient, broker: ScriptedBroker) -> None:
    preview = np.full((2, 2, 3), 9, np.uint8)
    info, data = payload_of_array("preview", preview)
    handle = client.submit(make_task())
    broker.wait_for(Submit)
    updates = handle.updates(30)
    seen = [next(updates)]

    def until(state: TaskState, step: int = 0) -> Any:
        while (update := next(updates)).state is not state or update.step != step:
            pass
        seen.append(update)
        return update

    for step in (1, 2):
        broker.say(
            Progressed(
                task_id=handle.id,
                state=TaskState.RUNNING,
                step=step,
                total=4,
                worker="host/cpu-0",
                attempt=1,
                preview=(info,),
            ),
            [data],
        )
        update = until(TaskState.RUNNING, step)
        assert (update.fraction, update.worker, update.attempt) == (step / 4, "host/cpu-0", 1)
        np.testing.assert_array_equal(update.preview, preview)
    broker.say(ends(handle.id, TaskState.CANCELLED))
    until(TaskState.CANCELLED, 2)

    assert next(updates, None) is None
    assert seen[0].state is TaskState.SUBMITTED


def test_updates_of_a_silent_task_end_when_the_time_is_up(
    client: AnyClient, broker: ScriptedBroker
) -> None:
    handle = client.submit(make_task())

    with pytest.raises(TimeoutError, match="no news"):
        list(handle.updates(0.05))


def test_callbacks_are_called_with_the_handle_once_it_is_done(
    client: AnyClient, working: ScriptedBroker
) -> None:
    called = threading.Semaphore(0)
    handles: list[Any] = []

    def remember(handle: Any) -> None:
        handles.append((handle, handle.done()))
        called.release()

    handle = client.submit(make_task())
    handle.add_done_callback(remember)
    handle.result(30)
    handle.add_done_callback(remember)

    assert called.acquire(timeout=30)
    assert called.acquire(timeout=30)
    assert handles == [(handle.handle, True)] * 2
