"""What is checked before a message reaches the machine: its port and its payloads."""

from typing import get_args

from attrs import evolve

from paintmq.broker.machine.sessions import version_objection
from paintmq.task import TaskError
from paintmq.wire.link import Delivery
from paintmq.wire.messages import (
    OLDEST_WORKER_VERSION,
    PROTOCOL_VERSION,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    FromClient,
    FromWorker,
    Heartbeat,
    Message,
    Rejected,
    Submit,
    WorkerHello,
)

_FROM_CLIENT = frozenset({*get_args(FromClient), Heartbeat})
_FROM_WORKER = frozenset(get_args(FromWorker))
_ENDINGS = (AttemptSucceeded, AttemptFailed, AttemptCrashed, AttemptReturned)


def objection(message: Message, *, port: str, is_queue: bool) -> str:
    """Return why this message may not arrive at that port; empty when it may."""
    allowed = _FROM_WORKER if is_queue else _FROM_CLIENT
    if type(message) not in allowed:
        return f"{type(message).__name__} is not understood on the port for {port}"
    if isinstance(message, WorkerHello) and message.queue != port:
        return f"this is the port of queue {port}, not of {message.queue}"
    if isinstance(message, WorkerHello):
        # Not the machine's to say: recorded inputs of older workers must replay.
        return version_objection(
            message.oldest,
            message.newest,
            ours=PROTOCOL_VERSION,
            our_oldest=OLDEST_WORKER_VERSION,
        )
    return ""


def without_superfluous_starts(deliveries: list[Delivery]) -> list[Delivery]:
    """Leave out that an attempt has begun where the same message tells that it has ended.

    A task of a millisecond would cost a record, and a message to its client, that nobody needs.
    """
    ended = {
        (message.task_id, message.fence)
        for delivery in deliveries
        if isinstance(message := delivery.message, _ENDINGS)
    }
    if not ended:
        return deliveries
    return [
        delivery
        for delivery in deliveries
        if not isinstance(message := delivery.message, AttemptStarted)
        or (message.task_id, message.fence) not in ended
    ]


def without_payloads(delivery: Delivery) -> Message | Rejected:
    """Return what to make of a message whose payloads were refused.

    A submission becomes its rejection. A result that is too large becomes a failure of the attempt:
    the worker would repeat it for ever otherwise. Progress goes on without its preview.
    """
    match delivery.message:
        case Submit(task):
            return Rejected(task_id=task.id, code="invalid_input", reason=delivery.refusal)
        case AttemptSucceeded(task_id=task_id, fence=fence):
            error = TaskError(code="too_large", message=f"its result: {delivery.refusal}")
            return AttemptFailed(task_id=task_id, fence=fence, error=error)
        case AttemptProgressed():
            return evolve(delivery.message, preview=())
        case message:
            return message


def too_much_arrives(submit: Submit, *, held: int, most: int) -> Rejected:
    """Return the rejection of a submission that came while too much input is still arriving."""
    return Rejected(
        task_id=submit.task.id,
        code="bytes_full",
        reason=f"{held} bytes of inputs are still arriving from all clients, at most {most} are "
        f"allowed (limits.max_bytes_arriving)",
        retry_after=5.0,
    )
