"""Every error PaintMQ raises on purpose.

::

    PaintMQError
    ├── ConfigError                 a setting is wrong: file, key and remedy in the text
    ├── PluginError                 a plugin cannot be used: plugin and distribution in the text
    ├── RefusedError                a task or question was not taken; carries code and retry_after
    │   ├── InvalidTaskError        the task as given is wrong (also a ValueError)
    │   │   ├── UnknownModelError   no installed plugin provides the model
    │   │   ├── UnknownQueueError   no queue of that name is configured
    │   │   ├── InvalidOptionError  the model has no such option, or not with that value
    │   │   └── InvalidInputError   an input is missing, unreadable, too large or of a wrong shape
    │   ├── RejectedError           the broker refused the task or question
    │   └── NoRoomError             too much is unfinished (also a TimeoutError)
    ├── PortInUseError              a queue's port is taken
    ├── StoreError                  the journal cannot be opened, read or written
    │   ├── StoreUnreachableError   its database does not answer now; waiting may help
    │   └── LeadLostError           another broker leads on the journal, or may do so
    ├── WireError                   a frame or message is not of our protocol
    │   └── VersionMismatchError    the peer speaks a version of it that we do not
    ├── ModelError                  for model authors: an attempt failed, retryable or not
    │   └── WeightsMissingError     a model's weights are not on this machine
    └── TaskNotCompletedError       what ``TaskHandle.result()`` raises; carries task id and state
        ├── TaskFailedError
        ├── TaskCancelledError
        ├── TaskExpiredError
        ├── TaskDeadError
        ├── TaskRejectedError   the broker refused the task (also a RefusedError)
        ├── TaskUnknownError    the broker does not know the task: never accepted, or forgotten
        └── ManagerStoppedError     the embedding manager or client stopped first

``result(timeout)`` raises the built-in TimeoutError when the time is up. Inside a model,
``context.raise_if_cancelled()`` raises Cancelled, a BaseException, so that a model's own
``except Exception`` cannot swallow it.
"""

from typing import Any

from paintmq.task import TaskId, TaskState

LONGEST_TEXT = 4_000
"""Characters of a reason at most; it travels, and is kept with its task."""
LONGEST_VALUE = 80
"""Characters of a value that is quoted in a reason."""


class PaintMQError(Exception):
    """Base of all errors that PaintMQ raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an error be pickled with its text and its data, for a program's own worker processes.

        Python would call the class with the text alone, and most of these take more.
        """
        return _restored, (type(self), self.args, dict(self.__dict__))


def _restored(
    kind: type[PaintMQError], arguments: tuple[object, ...], data: dict[str, Any]
) -> PaintMQError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(data)
    return error


class ConfigError(PaintMQError):
    """A setting is wrong."""


class PluginError(PaintMQError):
    """A plugin cannot be used."""


class RefusedError(PaintMQError):
    """A task or question was not taken: ``except RefusedError`` catches every way of saying so.

    Whether a program embeds the broker or connects to one decides where the same mistake is found:
    in ``Task``, in ``route_task``, in ``submit`` or in ``result``.
    """

    code: str = "refused"
    """For programs; see ``Rejected`` in ``wire/client_messages.py``."""
    retry_after: float | None = None
    """Seconds after which it may be taken; None if trying again would not help."""


class InvalidTaskError(RefusedError, ValueError):
    """The task as given is wrong."""

    code = "invalid_task"


class UnknownModelError(InvalidTaskError):
    """No installed plugin provides the model."""

    code = "unknown_model"


class UnknownQueueError(InvalidTaskError):
    """No queue of that name is configured."""

    code = "unknown_queue"


class InvalidOptionError(InvalidTaskError):
    """The model has no such option, or not with that value."""

    code = "invalid_option"


class InvalidInputError(InvalidTaskError):
    """An input is missing, unreadable, too large or of a wrong shape."""

    code = "invalid_input"


class RejectedError(RefusedError):
    """The broker refused the task or question; nothing was stored."""

    def __init__(self, code: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.retry_after = retry_after


class NoRoomError(RefusedError, TimeoutError):
    """``submit`` found no room in time: too much of this client's is unfinished."""

    code = "client_full"
    retry_after = 1.0


class PortInUseError(PaintMQError):
    """A queue's port is taken by another process."""


class StoreError(PaintMQError):
    """The journal cannot be opened, read or written."""


class StoreUnreachableError(StoreError):
    """The journal's database does not answer now; waiting may help."""


class LeadLostError(StoreError):
    """Another broker leads on the journal, or may do so; a broker may stand by after it."""


class WireError(PaintMQError):
    """A frame or message is not of our protocol."""


class VersionMismatchError(WireError):
    """The peer speaks another version; answer Refused, which every version can read."""

    def __init__(self, version: int, oldest: int, newest: int) -> None:
        super().__init__(
            f"this peer speaks protocol version {version}; {oldest} to {newest} are spoken here"
        )
        self.version = version


class ModelError(PaintMQError):
    """Raise it in a model to end an attempt with a message for the client.

    ``retryable`` says that another attempt, perhaps elsewhere, may succeed.
    """

    def __init__(self, message: str, *, code: str = "model_error", retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class WeightsMissingError(ModelError):
    """A model's weights are not on this machine; the text says how to get them."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="weights_missing")


class TaskNotCompletedError(PaintMQError):
    """A task ended without success."""

    def __init__(self, task_id: TaskId, state: TaskState | None, code: str, message: str) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.state = state
        self.code = code


class TaskFailedError(TaskNotCompletedError):
    """The model, or its worker, reported an error."""


class TaskCancelledError(TaskNotCompletedError):
    """The task was cancelled."""


class TaskExpiredError(TaskNotCompletedError):
    """The task was not started before its deadline."""


class TaskDeadError(TaskNotCompletedError):
    """The task was given up on after repeated crashes or losses; see ``paintmq dead show``."""


class TaskRejectedError(TaskNotCompletedError, RefusedError):
    """The broker refused the task."""


class TaskUnknownError(TaskNotCompletedError):
    """The broker does not know the task: never accepted, or forgotten after its retention time."""


class ManagerStoppedError(TaskNotCompletedError):
    """The manager or client was stopped before the task ended."""


class Cancelled(BaseException):
    """Raised inside a model by ``context.raise_if_cancelled()``; let it through."""


class PluginStuck(BaseException):
    """Raised inside a plugin's function that has kept the broker from its work for too long.

    A BaseException for the same reason.
    """

    reason = "it had not returned in time"

    def __str__(self) -> str:
        return self.reason


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return the text as any message can carry it: valid Unicode, and cut where it is too long."""
    text = str.__str__(text)  # of a subclass, too, without running its methods
    text = text[: longest + 1].encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def said_by(error: BaseException) -> str:
    """Return what an exception says, or its type where it says nothing.

    For exceptions of other people's code: their ``__str__`` may raise whatever it likes. One that
    is no Exception, such as SystemExit, is named as well, as its text alone would mean nothing.
    """
    name = printable(type(error).__name__)
    try:
        text = printable(str(error))
    except BaseException:  # noqa: BLE001 -- see above
        return name
    if text and not isinstance(error, Exception):
        return f"{name}: {text}"
    return text or name


def shown(value: object) -> str:
    """Return the ``repr`` of a value, cut where it is long; its type where the ``repr`` fails."""
    try:
        return printable(repr(value), LONGEST_VALUE)
    except BaseException:  # noqa: BLE001 -- other people's code; and ints of thousands of digits
        return f"a value of type {printable(type(value).__name__)}"
