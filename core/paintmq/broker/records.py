"""The records of the journal: enough to rebuild the broker's state and to audit it later."""

from collections.abc import Iterable
from typing import TypeAlias, assert_never

import msgspec
from attrs import field, frozen

from paintmq.task import TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus


@frozen
class BrokerBooted:
    """A broker with this incarnation started on the store."""

    incarnation: int
    at: float


class TaskAccepted(msgspec.Struct, frozen=True, gc=False):
    """A task was accepted; its input payloads are stored in the same commit."""

    request: TaskRequest
    status: TaskStatus


class TaskChanged(msgspec.Struct, frozen=True, gc=False):
    """A task has this status now."""

    task_id: TaskId
    event: str
    """Such as ``lease`` or ``finish``: one of ``RECORDS`` in ``machine/transitions.py``."""
    status: TaskStatus


class TaskPurged(msgspec.Struct, frozen=True, gc=False):
    """A task and its payloads were removed."""

    task_id: TaskId


@frozen
class SettingsChanged:
    """An operator changed settings while the broker worked, and they hold after its next start."""

    changes: str
    """All changes that hold now, as JSON; ``settings/queue_changes.py`` reads them."""
    at: float


Record: TypeAlias = BrokerBooted | TaskAccepted | TaskChanged | TaskPurged | SettingsChanged


@frozen
class StoredTask:
    """A task as a store returns it."""

    request: TaskRequest
    status: TaskStatus


def replay(records: Iterable[Record]) -> dict[TaskId, StoredTask]:
    """Return the tasks that these records leave, by id, in order of acceptance."""
    tasks: dict[TaskId, StoredTask] = {}
    apply_records(tasks, records)
    return tasks


def apply_records(tasks: dict[TaskId, StoredTask], records: Iterable[Record]) -> None:
    """Apply further records to tasks, in place."""
    for record in records:
        match record:
            case TaskAccepted(request, status):
                tasks[request.id] = StoredTask(request, status)
            case TaskChanged(task_id, _, status):
                tasks[task_id] = StoredTask(tasks[task_id].request, status)
            case TaskPurged(task_id):
                del tasks[task_id]
            case BrokerBooted() | SettingsChanged():
                pass
            case _:
                assert_never(record)


@frozen(kw_only=True)
class Recovered:
    """What a store holds when it is opened."""

    tasks: tuple[StoredTask, ...] = ()
    durable_sequence: int = 0
    last_time: float = 0.0
    """Latest broker time in the store; the clock of a new broker must not start earlier."""
    damaged: tuple[TaskId, ...] = ()
    """Tasks whose row or payload failed its checksum; they are returned as FAILED(corrupt)."""
    notes: tuple[str, ...] = field(default=())
    logged: tuple[Record, ...] = ()
    """The records after the one that ``Store.read_log_after`` named, oldest first."""
    changes: str = ""
    """Of the last ``SettingsChanged``; empty if there was none."""


def keeps_inputs(state: TaskState) -> bool:
    """Return whether a task in this state may still need its inputs."""
    return not state.is_final or state is TaskState.DEAD
