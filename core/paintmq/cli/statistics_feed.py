"""Statistics for plugins that export them, where a broker runs as a service."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from cattrs import structure

from paintmq.client.session import Session
from paintmq.client.task_handle import wait_for_answer
from paintmq.monitoring.sampler import StatisticsSampler
from paintmq.statistics import BrokerStatistics

if TYPE_CHECKING:
    from paintmq.broker.shell.server import BrokerServer
    from paintmq.config import MonitoringConfig
    from paintmq.plugin.manager import PluginManager
    from paintmq.transport.sockets import Context

_PATIENCE = 10.0
"""Seconds for the broker in this process to answer, however busy."""


def feed_statistics(
    server: "BrokerServer",
    context: "Context",
    config: "MonitoringConfig",
    plugins: "PluginManager",
    stack: ExitStack,
) -> None:
    """Pass samples to the plugins that observe statistics, until the stack is closed."""
    if not plugins.observes_statistics:
        return
    session = Session(server.inproc_endpoint, context=context, name="statistics")
    session.start()
    stack.callback(session.close, goodbye=0.0)

    def ask() -> BrokerStatistics:
        asked = session.ask("statistics", {})
        answer = wait_for_answer(session, asked, _PATIENCE, "to 'statistics'")
        return structure(answer, BrokerStatistics)

    sampler = StatisticsSampler(config, plugins, ask)
    sampler.start()
    stack.callback(sampler.stop)
