"""Feeds a recorded input log to a fresh machine and compares what it answers.

The same code must answer the same: a difference means that the program, a plugin or a router
changed since, or that the machine is not as pure as it should be.
"""

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from paintmq.broker.machine import NO_KEYS, BrokerMachine, Credentials, Step
from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.recording.input_log import FORMAT, fingerprint, outline
from paintmq.broker.records import StoredTask
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.broker.stores.rows import decode_request, decode_status
from paintmq.config import Limits, QueueConfig, RouterConfig, Timers
from paintmq.errors import ConfigError, WireError
from paintmq.statistics import BrokerStatistics
from paintmq.task import PeerId, TaskId
from paintmq.wire.codec import decode
from paintmq.wire.messages import ToBroker

if TYPE_CHECKING:
    from paintmq.plugin.manager import PluginManager

OLDEST_COMPARED = 4
"""The first format whose records have all the fields that records have now."""


@frozen
class Difference:
    """The first input whose replayed answer differs from the recorded one."""

    line: int
    """Of the file, from 1."""
    recorded: tuple[str, ...]
    replayed: tuple[str, ...]


@frozen(kw_only=True)
class Replay:
    """The outcome of a replay."""

    inputs: int
    difference: Difference | None
    """None: every answer was the same."""
    statistics: BrokerStatistics
    """At the end of the file, or at the difference."""
    tasks: Mapping[TaskId, StoredTask]
    """As the broker knew them then."""


def replay(path: Path, plugins: "PluginManager", *, router: RouterConfig | None = None) -> Replay:
    """Replay a file, up to the first difference; with another ``router``, to its end.

    Raises:
        ConfigError: the file is no input log, or was written by another program than this one with
            these plugins; the text says what differs.
        PluginError: the recorded router is not installed.
    """
    lines = _lines(path)
    _, header = next(lines, (0, {}))
    _check_header(path, header, plugins, rerouted=router is not None)
    try:
        machine = _machine(header, plugins, router)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} was recorded with settings that this PaintMQ does not have: {error}"
        ) from error
    inputs, now = 0, 0.0
    difference: Difference | None = None
    for number, line in lines:
        try:
            now = float(line["now"])
            if "rerouted" in line and router is None:
                handle: Handle | None = _reroute(machine, line, plugins, now)
            else:
                handle = _input(machine, line, now)
        except (KeyError, TypeError, ValueError, WireError) as error:
            raise ConfigError(f"{path}, line {number} cannot be read: {error!r}") from error
        if handle is None:
            continue
        step = _handled(machine, handle, now)
        inputs += 1
        if router is None and fingerprint(step) != line.get("check"):
            recorded = tuple(str(item) for item in line.get("answered", ()))
            replayed = tuple(str(item) for item in outline(step))
            difference = Difference(number, recorded, replayed)
            break
    return Replay(
        inputs=inputs,
        difference=difference,
        statistics=machine.statistics(now=now),
        tasks=machine.stored(),
    )


def _check_header(
    path: Path, header: dict[str, Any], plugins: "PluginManager", *, rerouted: bool
) -> None:
    written = header.get("paintmq_input_log")
    if not isinstance(written, int):
        raise ConfigError(
            f"{path} is no input log: its first line does not say so; it may be the end of one"
        )
    if written > FORMAT:
        raise ConfigError(
            f"{path} was recorded by a newer PaintMQ (format {written}, this one knows {FORMAT}): "
            f"update PaintMQ"
        )
    if written < OLDEST_COMPARED and not rerouted:
        raise ConfigError(
            f"{path} was recorded by an older PaintMQ (format {written}), whose answers differ "
            f"from those of this one: replay it with that version, or with --router"
        )
    missing = sorted(set(header.get("models", ())) - set(plugins.catalog().specs))
    if missing:
        raise ConfigError(
            f"{path} was recorded where these models were installed, which are not here: "
            f"{', '.join(missing)}; install their plugins, or enable them"
        )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith("\n"):
                    return  # the broker died while writing it
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ConfigError(f"{path}, line {number} is no object")
                yield number, line
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no input log: {error}") from error


def _machine(
    header: dict[str, Any], plugins: "PluginManager", router: RouterConfig | None
) -> BrokerMachine:
    config = header["config"]
    limits = Limits(**config["limits"])
    rng = random.Random(header["incarnation"])
    recorded = RouterConfig(**config["router"])
    queues = _queues(config["queues"])
    return BrokerMachine(
        incarnation=header["incarnation"],
        catalog=plugins.catalog(),
        scheduler=Scheduler(
            plugins.make_router(recorded if router is None else router),
            tenant_window=limits.tenant_window,
            rng=rng,
            queue_devices={name: queue.device for name, queue in queues.items()},
            queue_weights={name: queue.weight for name, queue in queues.items()},
        ),
        queues=queues,
        timers=Timers(**config["timers"]),
        limits=limits,
        admission=config["broker"]["admission"],
        rng=rng,
    )


def _queues(tables: Mapping[str, Any]) -> dict[str, QueueConfig]:
    return {name: QueueConfig(**queue) for name, queue in tables.items()}


Handle: TypeAlias = Callable[[], Step]


def _handled(machine: BrokerMachine, handle: Handle, now: float) -> Step:
    """Do as ``MachineDriver`` does: where the machine failed then, it fails now, and goes on."""
    try:
        return handle()
    except Exception as error:  # noqa: BLE001 -- whatever it was
        return machine.recover(type(error).__name__, now=now)


def _reroute(
    machine: BrokerMachine, line: dict[str, Any], plugins: "PluginManager", now: float
) -> Handle:
    router = plugins.make_router(RouterConfig(**line["rerouted"]))
    return partial(machine.replace_router, router, now=now)


def _credentials(line: dict[str, Any]) -> Credentials:
    """Return what the sender's key said of it; formats before 4 have its queues alone."""
    if (recorded := line.get("credentials")) is not None:
        queues = recorded.pop("queues")
        return Credentials(queues=None if queues is None else tuple(queues), **recorded)
    queues = line.get("queues")
    return NO_KEYS if queues is None else Credentials(queues=tuple(str(name) for name in queues))


def _input(machine: BrokerMachine, line: dict[str, Any], now: float) -> Handle | None:
    """Return what gives the machine one recorded input; None if it answers nothing."""
    if "wire" in line:
        message = decode(base64.b64decode(line["wire"]))
        if not isinstance(message, ToBroker):
            raise ValueError(f"{type(message).__name__} is not a message to a broker")
        peer, credentials = PeerId(bytes.fromhex(line["peer"])), _credentials(line)
        return partial(machine.receive, peer, message, now=now, credentials=credentials)
    if "lost" in line:
        return partial(machine.peer_lost, PeerId(bytes.fromhex(line["peer"])), now=now)
    if "tick" in line:
        return partial(machine.tick, now=now)
    if (told := line.get("reconfigured")) is not None:
        new = Reconfiguration(
            queues=_queues(told["queues"]),
            timers=Timers(**told["timers"]),
            limits=Limits(**told["limits"]),
            admission=told["admission"],
            paused=tuple(told["paused"]),
            closed=tuple(told["closed"]),
            kept=told["kept"],
        )
        return partial(machine.reconfigure, new, now=now)
    if "restored" in line:
        tasks = [
            StoredTask(
                decode_request(task["request"].encode()), decode_status(task["status"].encode())
            )
            for task in line["restored"]
        ]
        return partial(machine.restore, tasks, now=now)
    if "disk_full" in line:
        machine.set_disk_full(full=line["disk_full"])
    elif "disk_busy" in line:
        machine.set_disk_busy(busy=line["disk_busy"])
    elif "draining" in line:
        machine.set_draining()
    elif "rerouted" in line:
        pass  # another router was chosen for the whole replay
    else:
        raise ValueError("unknown input")
    return None
