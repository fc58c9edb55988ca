"""A client and a worker that behave, and whose tasks must all end well whatever others do."""

import hashlib
from types import TracebackType
from typing import Self

from paintmq.task import TaskId, TaskState
from paintmq.testing.example_tasks import describe
from paintmq.transport.pipes import Secure, no_keys
from paintmq.wire.messages import (
    Assign,
    AttemptSucceeded,
    Finished,
    Rejected,
    ResultReceived,
    Submit,
    Welcome,
    WhoAreYou,
    WorkerWelcome,
)
from tests.harness.toy_broker import Reachable, picture_task, toy_client, toy_worker

LARGE_EVERY, LARGE, SMALL = 20, 300_000, 500
"""Bytes of inputs: most travel with their message, one in twenty as a transfer."""


class HonestWork:
    """Keeps tasks under way; what goes wrong with one is an AssertionError."""

    def __init__(
        self,
        broker: Reachable,
        *,
        secure_client: Secure = no_keys,
        secure_worker: Secure = no_keys,
    ) -> None:
        self._client = toy_client(broker, secure_client)
        self._worker = toy_worker(broker, name="honest/cpu-0", credit=8, secure=secure_worker)
        self._client.hear(Welcome)
        self._worker.hear(WorkerWelcome)
        self._expected: dict[TaskId, bytes] = {}
        self._submitted = 0
        self.done = 0
        """Tasks that came back right."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        self._worker.close()

    @property
    def in_flight(self) -> int:
        return len(self._expected)

    def submit(self, tasks: int) -> None:
        for _ in range(tasks):
            self._submitted += 1
            size = LARGE if self._submitted % LARGE_EVERY == 0 else SMALL
            data = self._submitted.to_bytes(4) * (size // 4)
            request = picture_task(data)
            self._expected[request.id] = _result_of(data)
            self._client.say(Submit(request), [data])

    def work(self) -> None:
        """Do what has arrived, without waiting."""
        for delivery in self._worker.take_deliveries():
            message = delivery.message
            assert not isinstance(message, WhoAreYou), "an honest worker was forgotten"
            if isinstance(message, Assign):
                for item, data in zip(message.assignments, delivery.payloads, strict=True):
                    result = _result_of(bytes(data))
                    done = AttemptSucceeded(
                        task_id=item.task.id,
                        fence=item.fence,
                        outputs=(describe("image", result),),
                        ran=0.001,
                    )
                    self._worker.say(done, [result])
        for delivery in self._client.take_deliveries():
            message = delivery.message
            assert not isinstance(message, WhoAreYou), "an honest client was forgotten"
            assert not isinstance(message, Rejected), f"an honest task was refused: {message}"
            if isinstance(message, Finished) and message.task_id in self._expected:
                assert message.state is TaskState.SUCCEEDED, f"an honest task ended: {message}"
                assert [bytes(data) for data in delivery.payloads] == [
                    self._expected.pop(message.task_id)
                ], "an honest task got another result than its own"
                self.done += 1
                self._client.say(ResultReceived(message.task_id))

    def finish(self) -> None:
        """Work until every task has come back."""
        self.work()
        while self._expected:
            self._client.wait(self._worker)
            self.work()


def _result_of(data: bytes) -> bytes:
    """Return a result that only this input has, and of its size."""
    digest = hashlib.sha256(data).digest()
    return digest * (len(data) // len(digest))
