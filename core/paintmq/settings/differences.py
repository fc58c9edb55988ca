"""What a reload changes: setting by setting, at once or at the next start, and then why so late."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from attrs import evolve, frozen

from paintmq.config import BrokerConfig, Config, QueueConfig


@frozen(kw_only=True)
class Difference:
    """One setting that is not as the running broker has it."""

    key: str
    before: Any
    after: Any
    late: str = ""
    """Why it takes effect at the next start; empty: it does at once."""


_LATE_TIMERS: Mapping[str, str] = {
    "heartbeat": "connected peers were told the old one",
    "lease": "connected workers were told the old one",
    "restart_grace": "it counts from a start on",
}
_LATE_LIMITS: Mapping[str, str] = dict.fromkeys(
    (
        "max_payload_bytes",
        "max_task_bytes",
        "max_bytes_arriving",
        "max_unwritten_bytes",
        "max_unwritten_records",
        "max_peers",
        "max_peers_per_key",
        "tenant_window",
    ),
    "sockets and loop were made with it",
)
_LATE_SECTIONS: Mapping[str, str] = {
    "workers": "running workers keep theirs; `paintmq node` reads it at its own start",
    "node": "nodes were started with it",
    "http": "`paintmq http` is a program of its own: start that again",
    "monitoring": "the sampler was started with it",
    "plugins": "plugins were loaded with it",
    "weights": "workers were started with it",
}
_LIVE_BROKER_KEYS = ("admission", "advertise")
_LATE_BROKER: Mapping[str, str] = {
    each.name: "the broker's sockets and journal were opened with it"
    for each in attrs.fields(BrokerConfig)
    if each.name not in _LIVE_BROKER_KEYS
}
_LATE_QUEUE_KEYS: Mapping[str, str] = {
    "port": "workers are connected to the old one",
    "transport": "workers are connected by the old one",
}


def differences(running: Config, wanted: Config) -> list[Difference]:
    """Return every setting that differs, in the order of the settings."""
    return [
        *_section("broker", running.broker, wanted.broker, _LATE_BROKER),
        *_queues(running.queues, wanted.queues),
        *_section("router", running.router, wanted.router, {}),
        *_section("timers", running.timers, wanted.timers, _LATE_TIMERS),
        *_section("limits", running.limits, wanted.limits, _LATE_LIMITS),
        *(
            each
            for name, why in _LATE_SECTIONS.items()
            for each in _section(name, getattr(running, name), getattr(wanted, name), why)
        ),
    ]


def applied(running: Config, wanted: Config) -> Config:
    """Return the settings in use after a reload: the wanted ones as far as they work at once."""
    timers = {key: getattr(running.timers, key) for key in _LATE_TIMERS}
    limits = {key: getattr(running.limits, key) for key in _LATE_LIMITS}
    broker = {key: getattr(wanted.broker, key) for key in _LIVE_BROKER_KEYS}
    return evolve(
        running,
        broker=evolve(running.broker, **broker),
        queues={
            name: _applied_queue(running.queues.get(name), queue)
            for name, queue in wanted.queues.items()
        },
        router=wanted.router,
        timers=evolve(wanted.timers, **timers),
        limits=evolve(wanted.limits, **limits),
    )


def _applied_queue(running: QueueConfig | None, wanted: QueueConfig) -> QueueConfig:
    if running is None:
        return wanted
    return evolve(wanted, **{key: getattr(running, key) for key in _LATE_QUEUE_KEYS})


def _queues(
    running: Mapping[str, QueueConfig], wanted: Mapping[str, QueueConfig]
) -> Iterator[Difference]:
    for name, queue in running.items():
        after = wanted.get(name)
        if after is None:
            yield Difference(key=f"queues.{name}", before="a queue", after="removed")
        else:
            yield from _section(f"queues.{name}", queue, after, _LATE_QUEUE_KEYS)
    for name in wanted:
        if name not in running:
            yield Difference(key=f"queues.{name}", before="no queue", after="added")


def _section(
    path: str, running: Any, wanted: Any, late: Mapping[str, str] | str
) -> Iterator[Difference]:
    """Compare two tables; ``late``: why keys take effect late, for some of them or for all."""
    for attribute in attrs.fields(type(running)):
        before, after = getattr(running, attribute.name), getattr(wanted, attribute.name)
        if before != after:
            why = late if isinstance(late, str) else late.get(attribute.name, "")
            yield Difference(key=f"{path}.{attribute.name}", before=before, after=after, late=why)
