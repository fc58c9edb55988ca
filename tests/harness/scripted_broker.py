"""The broker's end of a queue port that says exactly what it is told to: for tests of workers."""

import errno
import time
from collections.abc import Sequence
from typing import TypeVar

from attrs import frozen

from paintmq.image import payload_of_array
from paintmq.task import Buffer, Fence, Json, PayloadInfo, PeerId, TaskId, TaskRequest
from paintmq.transport.sockets import bind, new_context, router
from paintmq.wire.link import Link
from paintmq.wire.messages import (
    Abandon,
    Assign,
    Assignment,
    AttemptFailed,
    AttemptRecorded,
    AttemptSucceeded,
    BrokerHeartbeat,
    FromWorker,
    Heartbeat,
    Message,
    WorkerHello,
    WorkerWelcome,
)
from tests.harness.closing import ClosedAtTheEnd

MessageT = TypeVar("MessageT")

PATIENCE = 30.0
"""Seconds after which a message that did not come is a failure; never waited for in a good run."""


@frozen(kw_only=True)
class Heard:
    """A message of a worker."""

    peer: PeerId
    message: FromWorker
    payloads: tuple[Buffer, ...]


@frozen(kw_only=True)
class Job:
    """A task to assign, with its payloads."""

    number: int
    model: str
    options: dict[str, Json]
    inputs: tuple[PayloadInfo, ...]
    payloads: tuple[Buffer, ...]
    run_limit: float

    @property
    def key(self) -> tuple[TaskId, Fence]:
        return TaskId(f"{self.number:032x}"), Fence(1, 1)


class ScriptedBroker(ClosedAtTheEnd):
    """One ROUTER on a port of the system's choice; welcomes workers and records what they say."""

    def __init__(self, *, heartbeat: float = 1.0, incarnation: int = 1) -> None:
        self.context = new_context()
        self._heartbeat = heartbeat
        self._incarnation = incarnation
        self._socket = router(self.context)
        self.endpoint = bind(self._socket, "127.0.0.1", 0, purpose="a test")
        self._links: dict[PeerId, Link] = {}
        self.peer = PeerId(b"")
        """Who said hello last."""
        self.silent = False
        """Heartbeats are not answered."""
        self.heard: list[Heard] = []
        """What was said and not yet asked for."""

    def say(self, message: Message, payloads: Sequence[Buffer] = ()) -> None:
        self._links[self.peer].send(message, payloads)
        self._flush(self.peer)

    def assign(self, *jobs: Job) -> None:
        """Assign these as one batch to who said hello last."""
        items = tuple(
            Assignment(
                task=TaskRequest(
                    id=job.key[0],
                    task_type="inpaint",
                    model=job.model,
                    options=job.options,
                    inputs=job.inputs,
                ),
                fence=job.key[1],
                run_limit=job.run_limit,
            )
            for job in jobs
        )
        self.say(Assign(items), [payload for job in jobs for payload in job.payloads])

    def hear(
        self, kind: type[MessageT], job: Job | None = None, *, patience: float = PATIENCE
    ) -> tuple[MessageT, Heard]:
        """Wait for a message of that kind (about that job); others are put aside."""
        until = time.monotonic() + patience
        while True:
            for place, heard in enumerate(self.heard):
                named = getattr(heard.message, "task_id", None)
                if isinstance(heard.message, kind) and (job is None or named == job.key[0]):
                    del self.heard[place]
                    return heard.message, heard
            if not self._socket.poll(int(max(until - time.monotonic(), 0) * 1000)):
                came = [type(heard.message).__name__ for heard in self.heard]
                raise TimeoutError(f"no {kind.__name__} came; these did: {came}")
            self._take()

    def record(self, message: "AttemptSucceeded | AttemptFailed") -> None:
        self.say(AttemptRecorded(message.task_id, message.fence))

    def abandon(self, job: Job, *, grace: float) -> None:
        """Take the attempt back; the worker has ``grace`` seconds to stop."""
        self.say(Abandon(task_id=job.key[0], fence=job.key[1], grace=grace))

    def _take(self) -> None:
        identity, *frames = self._socket.recv_multipart(copy=False)
        peer = PeerId(identity.bytes)
        link = self._links.setdefault(peer, Link())
        for delivery in link.receive([frame.buffer for frame in frames]):
            message = delivery.message
            if isinstance(message, WorkerHello):
                self.peer = peer
                link.send(
                    WorkerWelcome(
                        incarnation=self._incarnation, heartbeat=self._heartbeat, lease=30.0
                    )
                )
            if isinstance(message, Heartbeat) and not self.silent:
                link.send(BrokerHeartbeat())
            self.heard.append(
                Heard(peer=peer, message=message, payloads=delivery.payloads)  # type: ignore[arg-type]  # workers alone connect
            )
        self._flush(peer)

    def _flush(self, peer: PeerId) -> None:
        while multiparts := self._links[peer].outgoing():
            for frames in multiparts:
                try:
                    self._socket.send_multipart([peer, *frames])
                except Exception as error:
                    # ZeroMQ's own kind is for shells to know; a worker may have left meanwhile.
                    if getattr(error, "errno", None) != errno.EHOSTUNREACH:
                        raise

    def close(self) -> None:
        self._socket.close()
        self.context.term()


def make_job(number: int, model: str = "trial", *, run_limit: float = 60.0, **options: Json) -> Job:
    """Return a task that inpaints a small picture; its options are the trial model's."""
    import numpy as np

    image = np.full((8, 8, 3), number % 256, dtype=np.uint8)
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:5, 2:5] = 255
    sent = [payload_of_array("image", image), payload_of_array("mask", mask)]
    return Job(
        number=number,
        model=model,
        options=dict(options),
        inputs=tuple(info for info, _ in sent),
        payloads=tuple(data for _, data in sent),
        run_limit=run_limit,
    )
