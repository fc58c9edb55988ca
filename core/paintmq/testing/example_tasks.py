"""Example tasks, payloads, models and workers: a test states only what it is about."""

from typing import Any

from paintmq.digests import digest_of
from paintmq.model import ModelSpec, NoOptions
from paintmq.task import PayloadInfo, TaskId, TaskRequest
from paintmq.wire.messages import PROTOCOL_VERSION, WorkerHello

PATIENCE = 20.0
"""Seconds after which a missing message is a failure; never waited for in a good run."""


def make_spec(name: str = "toy", **changes: Any) -> ModelSpec:
    """Return the spec of a model that needs nothing."""
    values: dict[str, Any] = {
        "name": name,
        "implementation": "nowhere:Nothing",
        "options": NoOptions,
        "inputs": (),
    }
    return ModelSpec(**(values | changes))


def make_request(name: str = "1", **changes: Any) -> TaskRequest:
    """Return a request for the model ``toy``; the name becomes the end of its id."""
    values: dict[str, Any] = {
        "id": TaskId(name.rjust(32, "0")),
        "task_type": "plugin",
        "model": "toy",
    }
    return TaskRequest(**(values | changes))


def make_payload(name: str = "image", size: int = 12, **changes: Any) -> PayloadInfo:
    """Return the description of some bytes."""
    values: dict[str, Any] = {"name": name, "size": size, "digest": "0" * 64, "kind": "file"}
    return PayloadInfo(**(values | changes))


def make_hello(name: str = "node/cpu-0", **changes: Any) -> WorkerHello:
    """Return the introduction of a CPU worker that runs the model ``toy``."""
    values: dict[str, Any] = {
        "newest": PROTOCOL_VERSION,
        "name": name,
        "node": "node",
        "queue": "cpu-light",
        "device": "cpu",
        "memory_mb": 8192,
        "cores": 4,
        "models": ("toy",),
    }
    return WorkerHello(**(values | changes))


def describe(name: str, data: bytes) -> PayloadInfo:
    """Return the description of these bytes, digest included."""
    return PayloadInfo(name=name, size=len(data), digest=digest_of(data), kind="file")
