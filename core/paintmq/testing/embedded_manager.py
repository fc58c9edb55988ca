"""A QueueManager for tests: on free ports, with nothing on disk."""

from typing import TYPE_CHECKING, Any

from attrs import evolve

from paintmq.config import DEFAULT_QUEUE_CONFIGS, BrokerConfig, Config

if TYPE_CHECKING:
    from paintmq.plugin.manager import PluginManager
    from paintmq.queue_manager import QueueManager


def config_on_free_ports(**changes: Any) -> Config:
    """Return settings for a broker beside any other; ``changes`` are whole sections."""
    queues = {name: evolve(queue, port=0) for name, queue in DEFAULT_QUEUE_CONFIGS.items()}
    sections: dict[str, Any] = {"broker": BrokerConfig(port=0), "queues": queues}
    return Config(**(sections | changes))


def embedded_manager(
    *, plugins: "PluginManager | None" = None, workers: int | None = None, **changes: Any
) -> "QueueManager":
    """Return a manager to be used in a ``with`` statement; ``changes`` are sections of Config."""
    from paintmq.queue_manager import QueueManager

    return QueueManager(config_on_free_ports(**changes), workers=workers, plugins=plugins)
