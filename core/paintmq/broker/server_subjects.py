"""Questions the server answers itself, because the machine knows no sockets and no versions."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TypeAlias

from paintmq.catalog import Catalog
from paintmq.errors import PaintMQError
from paintmq.task import Json
from paintmq.wire.messages import PROTOCOL_VERSION, Answer, Ask

Subject: TypeAlias = Callable[[Mapping[str, Json]], Json]


ADMIN_SUBJECTS = frozenset({"shutdown", "reload", "drain_worker", "dead_requeue", "dead_drop"})
"""What changes things for others: where keys are asked for, an admin's must be used."""


def answer(ask: Ask, subjects: Mapping[str, Subject], *, is_admin: bool) -> Answer | None:
    """Return the answer; None when the subject is not in the table, and so the machine's."""
    if ask.subject in ADMIN_SUBJECTS and not is_admin:
        return Answer(request_id=ask.request_id, error=f"`{ask.subject}` takes an admin's key")
    subject = subjects.get(ask.subject)
    if subject is None:
        return None
    try:
        return Answer(request_id=ask.request_id, value=subject(ask.arguments))
    except (ValueError, PaintMQError) as error:
        return Answer(request_id=ask.request_id, error=str(error))


def describe_endpoints(client: str, queues: Mapping[str, str]) -> Json:
    return {"client": client, "queues": dict(queues)}


def describe_version(incarnation: int, durability: str) -> Json:
    return {
        "paintmq": version("paintmq"),
        "protocol": PROTOCOL_VERSION,
        "incarnation": incarnation,
        "durability": durability,
    }


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
        }
        for spec in catalog.specs.values()
    ]
