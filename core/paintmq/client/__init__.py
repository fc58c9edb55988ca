"""The client: handing tasks to a broker, watching them and taking their results."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paintmq.client.async_client import AsyncClient as AsyncClient
    from paintmq.client.async_task_handle import AsyncTaskHandle as AsyncTaskHandle
    from paintmq.client.client import Client as Client
    from paintmq.client.result import Progress as Progress
    from paintmq.client.result import Result as Result
    from paintmq.client.task_handle import TaskHandle as TaskHandle

_HOMES = {
    "AsyncClient": "paintmq.client.async_client",
    "AsyncTaskHandle": "paintmq.client.async_task_handle",
    "Client": "paintmq.client.client",
    "Progress": "paintmq.client.result",
    "Result": "paintmq.client.result",
    "TaskHandle": "paintmq.client.task_handle",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the machine here is pure, its shell opens sockets."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
