"""Client and AsyncClient against a broker that does what it is told: results, cancels, fetching."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.harness.any_client import AnyClient, accepts, ends, make_task, succeeds
from tests.harness.client_port import ScriptedBroker

from paintmq import TaskState
from paintmq.errors import (
    TaskCancelledError,
    TaskDeadError,
    TaskExpiredError,
    TaskFailedError,
    TaskNotCompletedError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.image import payload_of_array
from paintmq.wire.messages import (
    Cancel,
    CancelAnswered,
    Finished,
    Query,
    Rejected,
    ResultReceived,
    Submit,
    UnknownTask,
)

# ---- results -------------------------------------------------------------------------------------


def test_a_result_tells_what_came_of_the_task(client: AnyClient, working: ScriptedBroker) -> None:
    task = make_task(7)

    result = client.submit(task).result(30)

    assert result.task_id == task.id
    np.testing.assert_array_equal(result.image, np.full((4, 5, 3), 248, np.uint8))
    assert (result.queue, result.worker, result.attempts) == ("cpu-light", "host/cpu-0", 1)
    assert (result.waited, result.ran) == (0.5, 0.25)
    assert working.wait_for(ResultReceived) == [ResultReceived(task.id)]


def test_a_handle_is_true_and_knows_its_task(client: AnyClient, working: ScriptedBroker) -> None:
    task = make_task()
    handle = client.submit(task)
    handle.result(30)

    assert bool(handle.handle) is True
    assert (handle.id, handle.task, handle.state) == (task.id, task, TaskState.SUCCEEDED)
    assert handle.done()
    assert handle.queue == "cpu-light"
    assert handle.progress().fraction == 1.0
    assert "succeeded in cpu-light" in repr(handle.handle)


def test_the_named_queue_travels_with_the_task(client: AnyClient, working: ScriptedBroker) -> None:
    client.submit(make_task(), queue="serverless").result(30)

    (submit,) = working.of(Submit)
    assert submit.task.queue == "serverless"


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (TaskState.FAILED, TaskFailedError),
        (TaskState.CANCELLED, TaskCancelledError),
        (TaskState.EXPIRED, TaskExpiredError),
        (TaskState.DEAD, TaskDeadError),
    ],
)
def test_another_ending_than_success_is_raised_with_code_and_words(
    client: AnyClient,
    broker: ScriptedBroker,
    state: TaskState,
    error: type[TaskNotCompletedError],
) -> None:
    broker.when(Submit, lambda m: [ends(m.task.id, state, "model_error", "out of paint")])
    handle = client.submit(make_task())

    with pytest.raises(error, match="out of paint") as caught:
        handle.result(30)

    assert (caught.value.task_id, caught.value.state) == (handle.id, state)
    assert caught.value.code == "model_error"
    assert handle.state is state


def test_a_refusal_is_raised_with_the_time_to_wait(
    client: AnyClient, broker: ScriptedBroker
) -> None:
    broker.when(
        Submit,
        lambda m: [Rejected(task_id=m.task.id, code="queue_full", reason="full", retry_after=7.0)],
    )

    with pytest.raises(TaskRejectedError, match="full") as caught:
        client.submit(make_task()).result(30)

    assert (caught.value.code, caught.value.retry_after) == ("queue_full", 7.0)


def test_a_result_is_waited_for_no_longer_than_asked(
    client: AnyClient, broker: ScriptedBroker
) -> None:
    broker.when(Submit, lambda m: [accepts(m, "no worker has model lama")])
    handle = client.submit(make_task())
    broker.wait_for(Submit)

    with pytest.raises(TimeoutError, match=handle.id):
        handle.result(0.01)

    assert not handle.done()


def test_a_damaged_result_is_a_failure(client: AnyClient, broker: ScriptedBroker) -> None:
    """I20: the way back."""

    def damaged(message: Any) -> list[Any]:
        finished, (data,) = succeeds(broker, message.task.id)
        return [(finished, (b"\1" + bytes(data)[1:],))]

    broker.when(Submit, damaged)

    with pytest.raises(TaskFailedError, match="damaged") as caught:
        client.submit(make_task()).result(30)

    assert caught.value.code == "corrupt_result"


def test_large_images_come_back_whole(client: AnyClient, broker: ScriptedBroker) -> None:
    image = np.random.default_rng(1).integers(0, 256, (2000, 2000, 3), np.uint8)

    def mirror(message: Any) -> list[Any]:
        info, data = payload_of_array("image", image[::-1])
        assert broker.payloads[message.task.id][0] == image.tobytes()
        return [
            (
                Finished(task_id=message.task.id, state=TaskState.SUCCEEDED, outputs=(info,)),
                (data,),
            )
        ]

    broker.when(Submit, mirror)

    result = client.submit(make_task(inputs={"image": image})).result(30)

    np.testing.assert_array_equal(result.image, image[::-1])


# ---- cancelling ----------------------------------------------------------------------------------


def test_a_cancel_is_answered_by_the_broker(client: AnyClient, broker: ScriptedBroker) -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    broker.when(Cancel, lambda m: [CancelAnswered(m.task_id, "too_late")])

    assert client.submit(make_task()).cancel(30) == "too_late"


def test_a_cancelled_task_is_told_so_without_asking(
    client: AnyClient, broker: ScriptedBroker
) -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    broker.when(Cancel, lambda m: [ends(m.task_id, TaskState.CANCELLED)])
    handle = client.submit(make_task())

    assert handle.cancel(30) == "cancelled"
    assert handle.cancel(30) == "cancelled"
    assert len(broker.of(Cancel)) == 1


def test_what_is_done_is_too_late_to_cancel(client: AnyClient, working: ScriptedBroker) -> None:
    handle = client.submit(make_task())
    handle.result(30)

    assert client.cancel(handle) == "too_late"
    assert working.of(Cancel) == []


def test_a_task_is_cancelled_by_its_id(client: AnyClient, broker: ScriptedBroker) -> None:
    broker.when(Cancel, lambda m: [CancelAnswered(m.task_id, "unknown")])

    assert client.cancel("a" * 32) == "unknown"


# ---- fetching ------------------------------------------------------------------------------------


def test_a_result_is_fetched_by_id(
    make_client: Callable[..., AnyClient], working: ScriptedBroker
) -> None:
    task = make_task(3)
    make_client().submit(task).result(30)
    working.when(Query, lambda m: [succeeds(working, id_) for id_ in m.task_ids])

    handle = make_client().fetch(task.id)

    assert handle.result(30).image[0, 0, 0] == 252
    assert handle.task is None


def test_fetching_what_nobody_knows_says_so(client: AnyClient, broker: ScriptedBroker) -> None:
    broker.when(Query, lambda m: [UnknownTask(id_) for id_ in m.task_ids])

    with pytest.raises(TaskUnknownError, match="b" * 32):
        client.fetch("b" * 32).result(30)
