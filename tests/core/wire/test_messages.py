"""Which payloads follow a message."""

import pytest
from tests.harness.message_strategies import payload_infos

from paintmq.task import Fence, PayloadInfo, TaskId, TaskRequest, TaskState
from paintmq.wire import messages as m

TASK = TaskId("0123456789abcdef" * 2)
FENCE = Fence(1, 1)
ONE, TWO = payload_infos([1]), payload_infos([2])


def request(inputs: tuple[PayloadInfo, ...]) -> TaskRequest:
    return TaskRequest(id=TASK, task_type="inpaint", model="lama", inputs=inputs)


def assignment(inputs: tuple[PayloadInfo, ...]) -> m.Assignment:
    return m.Assignment(task=request(inputs), fence=FENCE, run_limit=1)


@pytest.mark.parametrize(
    ("message", "payloads"),
    [
        (m.Submit(request(ONE)), ONE),
        (m.Assign((assignment(ONE), assignment(TWO))), ONE + TWO),
        (m.Finished(task_id=TASK, state=TaskState.SUCCEEDED, outputs=ONE), ONE),
        (m.AttemptSucceeded(task_id=TASK, fence=FENCE, outputs=TWO, ran=1), TWO),
        (m.Progressed(task_id=TASK, state=TaskState.RUNNING, preview=ONE), ONE),
        (m.AttemptProgressed(task_id=TASK, fence=FENCE, step=1, total=2, preview=ONE), ONE),
        (m.WhoAreYou(), ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_payloads_follow_in_the_order_they_are_described(
    message: m.Message, payloads: tuple[PayloadInfo, ...]
) -> None:
    assert m.payloads_of(message) == payloads
