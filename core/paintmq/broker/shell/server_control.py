"""Questions the server answers itself, because the machine knows no sockets and no versions."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, cast

from attrs import asdict, frozen

from paintmq.broker.machine import NO_KEYS, Credentials
from paintmq.broker.records import Recovered
from paintmq.broker.stores import journal_folder
from paintmq.broker.stores.journal import Journal
from paintmq.config import BrokerConfig, QueueConfig, without_password
from paintmq.errors import PaintMQError
from paintmq.plugin.catalog import Catalog
from paintmq.plugin.options import describe_options
from paintmq.settings.differences import Difference
from paintmq.settings.queue_changes import Changes
from paintmq.statistics import BrokerStatistics
from paintmq.task import Json, TaskId
from paintmq.transport.addresses import is_loopback
from paintmq.wire.messages import PROTOCOL_VERSION, Answer, Ask


@frozen
class ForReader:
    """A subject whose answer depends on who asks."""

    tell: Callable[[Mapping[str, Json], Credentials], Json]


Subject: TypeAlias = Callable[[Mapping[str, Json]], Json] | ForReader


_VERSION = version("paintmq")  # at import: an upgrade may replace the metadata while we run

ADMIN_SUBJECTS = frozenset(
    {
        "shutdown",
        "reload",
        "backup",
        "change_queue",
        "drain_worker",
        "cordon",
        "uncordon",
        "preload",
        "cancel_tasks",
        "move_tasks",
        "dead_requeue",
        "dead_drop",
    }
)
"""Subjects that change things for others: with keys in use, they take an admin's key."""

ORDERS = ADMIN_SUBJECTS - {"statistics_of_all"}
"""Those that change something: the log says who gave them."""


TASK_SUBJECTS = frozenset({"story"})
"""Those of one task, which whoever asks must be allowed to learn of."""


def answer(
    ask: Ask,
    subjects: Mapping[str, Subject],
    *,
    is_admin: bool,
    knows: Callable[[TaskId], bool] = lambda _: False,
    credentials: Credentials = NO_KEYS,
) -> Answer | None:
    """Return the answer; None if the subject is not in the table and so the machine's.

    ``knows``: whether there is a task that whoever asks may learn of.
    """
    if ask.subject in ADMIN_SUBJECTS and not is_admin:
        return Answer(request_id=ask.request_id, error=f"`{ask.subject}` takes an admin's key")
    task_id = ask.arguments.get("task_id")
    if ask.subject in TASK_SUBJECTS and not (isinstance(task_id, str) and knows(TaskId(task_id))):
        reason = (
            f"no task {task_id!r}: it was never accepted here, or its retention time is over; "
            f"`paintmq why TASK --story --journal FOLDER` reads the log on the broker's machine"
        )
        return Answer(request_id=ask.request_id, error=reason)
    subject = subjects.get(ask.subject)
    if subject is None:
        return None
    try:
        if isinstance(subject, ForReader):
            value = subject.tell(ask.arguments, credentials)
        else:
            value = subject(ask.arguments)
        return Answer(request_id=ask.request_id, value=value)
    except (ValueError, OSError, PaintMQError) as error:
        return Answer(request_id=ask.request_id, error=str(error))


def back_up(journal: Journal, broker: BrokerConfig, arguments: Mapping[str, Json]) -> Json:
    """Start a backup of the journal, or report how far it is.

    Raises:
        ValueError: there is no ``path``, or peers without a key could ask for this.
        StoreError: it cannot be made.
    """
    path = arguments.get("path")
    if not isinstance(path, str) or not path:
        raise ValueError("backup wants a path, on the broker's machine")
    if not broker.keys and not is_loopback(broker.host):
        raise ValueError(
            "whoever reaches this broker may ask it anything (broker.insecure), so it writes no "
            "backups where it is told to; make keys with `paintmq keys init`, and it will for an "
            "admin's"
        )
    state: dict[str, Json] = asdict(journal.back_up(Path(path)))
    return state


def tell_story(journal: Journal, arguments: Mapping[str, Json]) -> Json:
    """Return every transition of a task, or that they are being read: then ask again.

    Raises:
        StoreError: the store keeps no log.
    """
    story = journal.story(TaskId(str(arguments["task_id"])))
    if story is None:
        return {"state": "reading"}
    return {"state": "done", "story": [line.to_json() for line in story]}


def describe_endpoints(
    client: str,
    bound: Mapping[str, str],
    *,
    advertise: str,
    queues: Mapping[str, QueueConfig],
    incarnation: int,
) -> Json:
    """Return what a node must know to connect its workers.

    ``bound``: the addresses of the queues' sockets. Where something between maps ports, nodes are
    told the one they reach; on which host, each takes from how it reached the broker itself, unless
    that is set. ``requirements`` are what a worker's home depends on.
    """
    told = {}
    for name, address in bound.items():
        host, _, port = address.rpartition(":")
        told[name] = f"{host}:{queues[name].advertise_port or port}"
    return {
        "client": client,
        "queues": dict[str, Json](told),
        "advertise": advertise,
        "incarnation": incarnation,
        "requirements": {
            name: {
                "device": queue.device,
                "gpu_memory_mb": queue.gpu_memory_mb,
                "effort": queue.effort,
            }
            for name, queue in queues.items()
        },
    }


def describe_differences(found: Iterable[Difference]) -> Json:
    """Return what a reload or a change came to, with values as a settings file has them."""
    return [
        {
            "key": each.key,
            "before": _as_json(each.before),
            "after": _as_json(each.after),
            "late": each.late,
        }
        for each in found
    ]


def describe_queues(
    queues: Mapping[str, QueueConfig], changes: Changes, endpoints: Mapping[str, str]
) -> Json:
    """Return each queue's settings and state, and which of it an operator changed."""
    return {
        name: {
            "settings": {key: _as_json(value) for key, value in asdict(queue).items()},
            "endpoint": endpoints.get(name, ""),
            "state": changes[name].state if name in changes else "open",
            "changed": [*sorted(changes[name].settings)] if name in changes else [],
        }
        for name, queue in queues.items()
    }


def _as_json(value: Any) -> Json:
    match value:
        case str():
            return without_password(value)
        case tuple() | list():
            return [_as_json(each) for each in value]
        case Mapping():
            return {str(key): _as_json(each) for key, each in value.items()}
        case _:
            return cast("Json", value)


def describe_journal(broker: BrokerConfig, recovered: Recovered) -> str:
    """Return where the journal is and what was in it, for the operator who starts a broker."""
    if broker.durability == "memory" and not broker.journal:
        return "in memory: whatever is unfinished ends with this broker"
    where = without_password(broker.journal) or journal_folder(broker)
    open_tasks = sum(not task.status.state.is_final for task in recovered.tasks)
    return f"{where} ({broker.durability}), with {open_tasks} unfinished tasks"


def describe_version(incarnation: int, durability: str, router: Json) -> Json:
    return {
        "paintmq": _VERSION,
        "protocol": PROTOCOL_VERSION,
        "incarnation": incarnation,
        "durability": durability,
        "router": router,
    }


def describe_statistics(statistics: BrokerStatistics) -> Json:
    value: dict[str, Json] = asdict(statistics)
    return value


def describe_models(catalog: Catalog) -> Json:
    return [
        {
            "name": spec.name,
            "summary": spec.summary,
            "task_types": list(spec.task_types),
            "devices": list(spec.devices),
            "inputs": [
                {"name": item.name, "kind": item.kind, "required": item.required}
                for item in spec.inputs
            ],
            "licence": spec.licence,
            "options": [asdict(option) for option in describe_options(spec.options)],
        }
        for spec in catalog.specs.values()
    ]
