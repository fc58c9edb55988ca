"""The broker that ``paintmq run`` uses: one that runs already, or a temporary one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from attrs import frozen

from paintmq.cli.common_options import (
    client_endpoint,
    connected,
    is_reachable,
    key_file,
    on_free_ports,
)
from paintmq.cli.failures import note

if TYPE_CHECKING:
    from paintmq.client import TaskHandle
    from paintmq.client.task import Task
    from paintmq.config import Config
    from paintmq.plugin.manager import PluginManager
    from paintmq.task import Json

_A_MOMENT = 0.3
"""Seconds to look for a broker that was not named: on this machine the answer comes at once."""

_ACQUAINTANCE = 3.0
"""Seconds until a worker has introduced itself: hundredths, unless the machine is overloaded."""


@frozen
class Session:
    """A place to send tasks to."""

    submit: "Callable[[Task], TaskHandle]"
    where: str
    """Where that is, for the summary."""


def _wait_for_a_worker(ask: "Callable[[str], Json]") -> None:
    """Give a broker that has just started the time to meet its workers.

    Without workers it refuses strict tasks; if none connects, its refusal says so.
    """
    until = monotonic() + _ACQUAINTANCE
    while not ask("workers") and monotonic() < until:
        sleep(0.02)


@contextmanager
def open_session(
    connect: str | None, config: "Config", file: Path | None, plugins: "PluginManager"
) -> Iterator[Session]:
    """Give a session with the broker named, else with the one of the settings if it runs, else
    with an embedded one, which stops at the end.
    """
    if connect is not None:
        with connected(connect, file) as client:
            _wait_for_a_worker(client.ask)
            yield Session(client.submit, connect)
        return
    own = client_endpoint(config)
    if is_reachable(own, patience=_A_MOMENT):
        from paintmq.client import Client

        with Client(own, key=key_file(config.broker)) as client:
            try:
                client.connect(timeout=_A_MOMENT)
            except TimeoutError:
                note(f"{own} does not answer as a broker does: starting one for the occasion")
            else:
                _wait_for_a_worker(client.ask)
                yield Session(client.submit, own)
                return
    from paintmq.queue_manager import QueueManager

    with QueueManager(on_free_ports(config), plugins=plugins) as manager:
        _wait_for_a_worker(manager.ask)
        yield Session(
            lambda task: manager.send_task(manager.route_task(task), task), "this process"
        )
