"""The story of one task: every transition that the log holds, in order, as an operator reads it.

The log has one record per transition, each with the task's whole status, so a line needs no other
record than its own.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from attrs import asdict, frozen

from paintmq.broker.records import BrokerBooted, Record, TaskAccepted, TaskChanged, TaskPurged
from paintmq.broker.stores.rows import checksum, decode_record
from paintmq.task import Json, TaskId, TaskState
from paintmq.task_status import TaskStatus

BOOTED = b'{"record":"BrokerBooted"'
"""How each record of a broker's start begins in the log."""


@frozen(kw_only=True)
class LogRow:
    """One row of the log whose checksum was right."""

    sequence: int
    at: float
    record: Record


@frozen(kw_only=True)
class StoryLine:
    """One transition of a task, or a start of the broker in between."""

    at: float
    """Broker time, in seconds since the epoch."""
    event: str
    """``accepted``, ``leased``, ``loading``, ``running``, ``queued again``, ``forgiven``,
    ``adopted``, ``acknowledged``, ``revived``, ``purged``, ``broker started``, or an ending."""
    worker: str = ""
    """The worker that holds the attempt, or held it."""
    incarnation: int = 0
    attempt: int = 0
    """With the incarnation: the fence, if the task was ever leased."""
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        return asdict(self)

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        fence = f"attempt {self.attempt} of {self.incarnation:016x}" if self.attempt else ""
        details = ", ".join(filter(None, (self.worker, fence, self.reason)))
        return f"{when}  {self.event:<14} {details}".rstrip()


def read_row(sequence: int, at: float, record: bytes, row_check: bytes) -> LogRow | None:
    """Return a row of the log, or None if the disk changed it."""
    if checksum(str(sequence).encode(), repr(at).encode(), record) != row_check:
        return None
    try:
        return LogRow(sequence=sequence, at=at, record=decode_record(record))
    except (ValueError, msgspec.MsgspecError):
        return None


def tell(task_id: TaskId, rows: Iterable[LogRow]) -> list[StoryLine]:
    """Return the story of a task from rows of the log, those of other tasks left out.

    Starts of the broker are told while the task has neither ended nor been forgotten: they explain
    why an attempt was lost.
    """
    lines: list[StoryLine] = []
    is_open = False
    for row in rows:
        match row.record:
            case TaskAccepted(request, status) if request.id == task_id:
                is_open = True
                where = f"queue {status.queue}, model {request.model}, priority {request.priority}"
                lines.append(StoryLine(at=row.at, event="accepted", reason=where))
            case TaskChanged(changed, event, status) if changed == task_id:
                is_open = not status.state.is_final
                lines.append(_changed(row.at, event, status))
            case TaskPurged(purged) if purged == task_id:
                is_open = False
                lines.append(StoryLine(at=row.at, event="purged"))
            case BrokerBooted(incarnation) if is_open:
                text = f"incarnation {incarnation:016x}"
                lines.append(StoryLine(at=row.at, event="broker started", reason=text))
            case _:
                pass
    return lines


def _changed(at: float, event: str, status: TaskStatus) -> StoryLine:
    name, reason = _NAMES.get(event, event), ""
    match event:
        case "start":
            name = status.state.value
        case "requeue":
            reason = _last_attempt(status)
            if status.not_before > at:
                reason += f", tried again after {status.not_before - at:.1f} s"
        case "forgive":
            reason = "it waited long enough for a worker that has not failed it"
        case "adopt":
            reason = f"it has the owner {status.owner!r} now"
        case "finish":
            name = status.state.value
            reason = status.error.message if status.error is not None else ""
        case "acknowledge":
            reason = "a client has the result"
        case "revive":
            reason = "requeued by an operator"
        case _:
            pass
    held = event in ("lease", "start", "requeue", "finish") and status.attempt > 0
    return StoryLine(
        at=at,
        event=name,
        worker=status.worker if held else "",
        incarnation=status.incarnation if held else 0,
        attempt=status.attempt if held else 0,
        reason=reason,
    )


_NAMES = {
    "lease": "leased",
    "requeue": "queued again",
    "forgive": "forgiven",
    "adopt": "adopted",
    "acknowledge": "acknowledged",
    "revive": "revived",
}


def _last_attempt(status: TaskStatus) -> str:
    if status.state is not TaskState.QUEUED or not status.history:
        return ""
    report = status.history[-1]
    message = f": {report.error.message}" if report.error is not None else ""
    return f"{report.outcome.replace('_', ' ')}{message}"
