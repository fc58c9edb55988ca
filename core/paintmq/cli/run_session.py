"""The broker that ``paintmq run`` uses: one that runs already, or a temporary one."""

import tempfile
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
    strangers_broker,
)
from paintmq.cli.failures import CommandError, note
from paintmq.cli.log_setup import last_warning
from paintmq.errors import WeightsMissingError

if TYPE_CHECKING:
    from paintmq.client import TaskHandle
    from paintmq.client.task import Task
    from paintmq.model import ModelSpec
    from paintmq.plugin.manager import PluginManager
    from paintmq.settings.file import Settings
    from paintmq.task import Json
    from paintmq.weights import WeightFolder

_A_MOMENT = 0.3
"""Seconds to look for a broker that was not named: on this machine the answer comes at once."""

_ACQUAINTANCE = 3.0
"""Seconds until a worker has introduced itself: hundredths, unless the machine is overloaded."""


@frozen(kw_only=True)
class Session:
    """A place to send tasks to."""

    submit: "Callable[[Task], TaskHandle]"
    ask: "Callable[..., Json]"
    trouble: Callable[[], str] = str
    """Tells why the workers that this command was to start are not there, if they are not."""
    is_own: bool = False
    """Nobody else uses the broker."""


def _wait_for_a_worker(ask: "Callable[[str], Json]") -> None:
    """Give a broker that has just started the time to meet its workers.

    Without workers it refuses strict tasks; if none connects, its refusal says so.
    """
    until = monotonic() + _ACQUAINTANCE
    while not ask("workers") and monotonic() < until:
        sleep(0.02)


@contextmanager
def open_session(
    connect: str | None,
    settings: "Settings",
    file: Path | None,
    plugins: "PluginManager",
    *,
    spec: "ModelSpec | None" = None,
    queue: str = "",
) -> Iterator[Session]:
    """Give a session with the broker named, else with the one of the settings if it runs, else
    with an embedded one, which stops at the end.

    Raises:
        WeightsMissingError: an embedded broker would have to run ``spec`` without its weights.
    """
    config = settings.config
    if connect is not None:
        with connected(connect, file) as client:
            _wait_for_a_worker(client.ask)
            yield Session(submit=lambda task: client.submit(task, queue=queue), ask=client.ask)
        return
    own = client_endpoint(config)
    if is_reachable(own, patience=_A_MOMENT):
        from paintmq.client import Client

        if stranger := strangers_broker(settings):
            note(f"{stranger}: not used; this run starts one of its own")
        else:
            with Client(own, key=key_file(config.broker)) as client:
                try:
                    client.connect(timeout=_A_MOMENT)
                except TimeoutError:
                    note(f"{own} does not answer as a broker does: starting one for the occasion")
                else:
                    _wait_for_a_worker(client.ask)
                    yield Session(
                        submit=lambda task: client.submit(task, queue=queue), ask=client.ask
                    )
                    return
    from paintmq.queue_manager import QueueManager
    from paintmq.weights import WeightFolder

    if spec is not None:
        _check_weights(spec, WeightFolder(config.weights))
    check_temporary_folder()
    with (
        last_warning() as warning,
        QueueManager(on_free_ports(config), plugins=plugins) as manager,
    ):
        _wait_for_a_worker(manager.ask)
        yield Session(
            submit=lambda task: manager.send_task(queue or manager.route_task(task), task),
            ask=manager.ask,
            trouble=lambda: warning.text,
            is_own=True,
        )


def check_temporary_folder() -> None:
    """Check that model hosts have a place for their scratch files.

    Raises:
        CommandError: there is none.
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise CommandError(
            "no temporary folder can be written, and models need one: set TMPDIR to one"
        ) from error


def _check_weights(spec: "ModelSpec", folder: "WeightFolder") -> None:
    """Look for the weights before a worker does: it would load its libraries first."""
    finder = folder.for_model(spec)
    states = {file.name: folder.status(file).state for file in spec.weights}
    # A model that can use either of several files says so itself, when it loads.
    if spec.weights and set(states.values()) == {"missing"}:
        try:
            finder.path(spec.weights[0].name)
        except WeightsMissingError as error:
            raise WeightsMissingError(f"model {spec.name}: {error}") from error
