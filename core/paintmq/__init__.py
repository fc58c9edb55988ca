"""PaintMQ: image models as a distributed service over ZeroMQ."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paintmq import errors as errors
    from paintmq.client.async_client import AsyncClient as AsyncClient
    from paintmq.client.async_task_handle import AsyncTaskHandle as AsyncTaskHandle
    from paintmq.client.client import Client as Client
    from paintmq.client.result import Progress as Progress
    from paintmq.client.result import Result as Result
    from paintmq.client.task import Task as Task
    from paintmq.client.task_handle import TaskHandle as TaskHandle
    from paintmq.config import DEFAULT_QUEUE_CONFIGS as DEFAULT_QUEUE_CONFIGS
    from paintmq.config import BrokerConfig as BrokerConfig
    from paintmq.config import Config as Config
    from paintmq.config import MonitoringConfig as MonitoringConfig
    from paintmq.config import QueueConfig as QueueConfig
    from paintmq.plugin.manager import PluginManager as PluginManager
    from paintmq.queue_manager import QueueManager as QueueManager
    from paintmq.settings.file import load_config as load_config
    from paintmq.task import TaskState as TaskState
    from paintmq.task import TaskType as TaskType

    __version__: str

_HOMES = {
    "AsyncClient": "paintmq.client.async_client",
    "AsyncTaskHandle": "paintmq.client.async_task_handle",
    "Client": "paintmq.client.client",
    "PluginManager": "paintmq.plugin.manager",
    "Progress": "paintmq.client.result",
    "QueueManager": "paintmq.queue_manager",
    "Result": "paintmq.client.result",
    "Task": "paintmq.client.task",
    "TaskHandle": "paintmq.client.task_handle",
    "DEFAULT_QUEUE_CONFIGS": "paintmq.config",
    "BrokerConfig": "paintmq.config",
    "Config": "paintmq.config",
    "MonitoringConfig": "paintmq.config",
    "QueueConfig": "paintmq.config",
    "TaskState": "paintmq.task",
    "TaskType": "paintmq.task",
    "load_config": "paintmq.settings.file",
}
__all__ = sorted([*_HOMES, "errors"])


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import paintmq`` stays light."""
    if name == "errors":
        return import_module("paintmq.errors")
    if name == "__version__":
        return import_module("importlib.metadata").version("paintmq")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ImportError as error:
        from paintmq.platforms import system_objection

        raise ImportError(system_objection() or str(error)) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
