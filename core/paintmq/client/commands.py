"""What the client's machine tells its shell to do: send to the broker, or inform the program."""

from typing import TypeAlias

from attrs import frozen

from paintmq.task import Json, TaskId
from paintmq.wire.messages import Accepted, Finished, FromClient, Heartbeat, Progressed, Rejected


@frozen
class Send:
    """Send this to the broker; the payloads of a Submit are the task's inputs."""

    message: FromClient | Heartbeat


@frozen
class Reconnect:
    """Close the connection, open another under a fresh peer id, and call ``opened``."""

    reason: str


@frozen
class TaskAccepted:
    """The broker has the task, and says where it stands."""

    message: Accepted


@frozen
class TaskProgressed:
    """The task has made progress; a preview may have come along."""

    message: Progressed


@frozen
class TaskEnded:
    """The task has its ending: the first one heard, and the only one reported."""

    message: Finished


@frozen
class TaskRefused:
    """The broker did not take the task."""

    message: Rejected


@frozen
class TaskUnknown:
    """The broker does not know the task that was to be fetched."""

    task_id: TaskId


@frozen
class CancelSettled:
    """The answer to a cancel: ``cancelled``, ``too_late`` or ``unknown``."""

    task_id: TaskId
    answer: str


@frozen
class Answered:
    """The answer to a question; ``error`` is empty unless it failed."""

    request_id: int
    value: Json
    error: str


@frozen
class AlarmRaised:
    """The broker's store has lost something it had promised; the client submits it again."""

    reason: str


Command: TypeAlias = (
    Send
    | Reconnect
    | TaskAccepted
    | TaskProgressed
    | TaskEnded
    | TaskRefused
    | TaskUnknown
    | CancelSettled
    | Answered
    | AlarmRaised
)
