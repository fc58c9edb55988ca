"""Every setting and its default, as plain values. Reading them from a file: ``settings/file.py``.

Seconds are floats, bytes are integers, memory is in megabytes of 2**20 bytes. Each field's
``metadata["help"]`` is what ``paintmq config`` prints beside it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from attrs import Attribute, field, frozen

from paintmq.model import Effort
from paintmq.task import DeviceKind, Json
from paintmq.units import MIB

LOCAL = "local"
"""The launcher that is built in: the node runs in the broker's own process."""


def setting(default: Any, help_text: str, **more: Any) -> Any:
    """Return a field with a default and a line of help."""
    return field(default=default, metadata={"help": help_text}, **more)


def table(factory: Any, help_text: str) -> Any:
    """Return a field that holds a table of settings."""
    return field(factory=factory, metadata={"help": help_text})


def _positive(instance: object, attribute: "Attribute[float]", value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name} = {value!r} must be greater than 0")


def _up_to_a_minute(instance: object, attribute: "Attribute[float]", value: float) -> None:
    if not 1 <= value <= 60:
        raise ValueError(f"{attribute.name} = {value!r} must be from 1 to 60 seconds")


def _port(instance: object, attribute: "Attribute[int]", value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError(f"{attribute.name} = {value!r} is no port: use 1 to 65535, or 0 for any")


def _addresses(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) and value else tuple(value)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004 -- like every other bad setting
            f"models = {value!r} must be a list of names, such as [{value!r}]"
        )
    return tuple(value)


_PASSWORD = re.compile(r"(?<=://)([^:/@]*):([^/]*)@|(password=)('[^']*'|[^\s&']*)")


def without_password(address: str) -> str:
    """Return an address, or a list of ``key=value``, with ``***`` where it has a password."""

    def hidden(found: "re.Match[str]") -> str:
        return f"{found[3]}***" if found[3] else f"{found[1]}:***@"

    return _PASSWORD.sub(hidden, address)


@frozen(kw_only=True)
class QueueConfig:
    """A queue: a port, and what a task in it may need at most.

    Every number is a ceiling: a task that may need more is refused by the queue, and a worker runs
    a task of any queue if it has what the task itself needs, not what the queue allows.
    """

    port: int = setting(0, "TCP port workers connect to; 0 lets the system choose", validator=_port)
    advertise_port: int = setting(
        0, "port nodes reach it by, where something between maps ports; 0: port", validator=_port
    )
    device: DeviceKind = setting("cpu", "what its tasks run on: cpu or cuda")
    gpu_memory_mb: int = setting(0, "GPU memory a task may count on")
    memory_mb: int = setting(0, "main memory a task may count on; 0 is unlimited")
    cores: int = setting(0, "CPU cores a task may count on; 0 is unlimited")
    models: tuple[str, ...] = setting(
        (), "models it takes, by name or pattern such as sd*; empty: all", converter=_names
    )
    effort: Effort | Literal["any"] = setting("any", "takes light, intensive or any tasks")
    weight: float = setting(
        1.0, "share of the tasks that other queues could take as well", validator=_positive
    )
    capacity: int = setting(10_000, "tasks that may wait in it", validator=_positive)
    max_bytes: int = setting(4096 * MIB, "input bytes that may wait in it", validator=_positive)
    transport: Literal["router", "pushpull"] = setting("router", "how tasks reach its workers")


DEFAULT_QUEUE_CONFIGS: Mapping[str, QueueConfig] = {
    "gpu-high": QueueConfig(port=5555, device="cuda", gpu_memory_mb=81_920),
    "gpu-medium": QueueConfig(port=5556, device="cuda", gpu_memory_mb=12_288),
    "gpu-low": QueueConfig(port=5557, device="cuda", gpu_memory_mb=4_096),
    "cpu-intensive": QueueConfig(port=5558, effort="intensive"),
    "cpu-light": QueueConfig(port=5559, effort="light", memory_mb=4_096),
    "serverless": QueueConfig(port=5560, memory_mb=10_240, cores=6),
}
"""The six queues of a default installation, by name."""


@frozen(kw_only=True)
class Timers:
    """Durations in seconds; what each one ends is in ``core/README.md``."""

    heartbeat: float = setting(5.0, "between two heartbeats", validator=_positive)
    lease: float = setting(30.0, "of silence until a worker's attempts go to others")
    dispatch: float = setting(10.0, "until a dispatched attempt must have shown a sign of life")
    restart_grace: float = setting(45.0, "workers have to claim their attempts after a restart")
    cancel_grace: float = setting(5.0, "a running model has to heed a cancel before it is killed")
    drain_grace: float = setting(30.0, "running attempts have to finish at shutdown")
    result_kept: float = setting(600.0, "a result is kept after its client has it")
    result_kept_at_most: float = setting(86_400.0, "an unfetched result is kept")
    dead_kept: float = setting(604_800.0, "a dead letter and its inputs are kept")
    retry_first: float = setting(1.0, "before the second attempt of a failed task")
    retry_most: float = setting(60.0, "between attempts at most")
    ageing: float = setting(60.0, "of waiting that one level of priority is worth")


@frozen(kw_only=True)
class Limits:
    """Limits. A refusal names the limit and its setting."""

    max_payload_bytes: int = setting(256 * MIB, "one input or output", validator=_positive)
    max_task_bytes: int = setting(512 * MIB, "all inputs of one task", validator=_positive)
    max_bytes_in_flight: int = setting(4096 * MIB, "inputs the broker holds", validator=_positive)
    max_spent_bytes: int = setting(
        128 * MIB, "results kept although their clients have them", validator=_positive
    )
    max_tasks: int = setting(200_000, "unfinished tasks in the broker", validator=_positive)
    max_pixels: int = setting(64_000_000, "one image", validator=_positive)
    max_side: int = setting(32_768, "pixels along one side of an image", validator=_positive)
    max_bytes_arriving: int = setting(
        1024 * MIB, "inputs of unfinished submissions, of all clients", validator=_positive
    )
    max_options_bytes: int = setting(64 * 1024, "options of one task", validator=_positive)
    max_unwritten_bytes: int = setting(
        512 * MIB, "inputs that may wait for a slow disk", validator=_positive
    )
    max_unwritten_records: int = setting(
        20_000, "transitions of tasks that may wait for a slow disk", validator=_positive
    )
    max_kept_tasks: int = setting(
        500_000, "tasks in the broker, with those that ended and are kept", validator=_positive
    )
    max_peers: int = setting(
        1_000, "connections of clients, and as many of workers", validator=_positive
    )
    max_peers_per_key: int = setting(500, "connections with one key", validator=_positive)
    max_worker_kinds: int = setting(
        256, "different sets of models and hardware that workers announce", validator=_positive
    )
    crashes: int = setting(3, "confirmed crashes of one task before it is dead")
    losses: int = setting(10, "lost leases of one task before it is dead")
    undelivered: int = setting(20, "dispatches of one task that never started, before it is dead")
    tenant_window: int = setting(
        8, "tasks of one tenant that may be scheduled at once, or as many as others have"
    )
    history: int = setting(40, "attempts kept in a task's history")


@frozen(kw_only=True)
class BrokerConfig:
    """The broker."""

    host: str = setting("127.0.0.1", "address to bind")
    port: int = setting(5550, "TCP port clients connect to; 0: any", validator=_port)
    advertise: str = setting(
        "", "host by which nodes reach its queues; empty: the one they connect to"
    )
    address: tuple[str, ...] = setting(
        (),
        "where clients and commands reach it, as tcp://HOST:PORT; several that stand by for each"
        " other; empty: host and port",
        converter=_addresses,
    )
    keys: str = setting("", "folder of the keys that may connect; empty: no keys are asked for")
    key: str = setting("", "this program's own key file, where a broker asks for one")
    insecure: bool = setting(False, "allow another address than loopback without keys")
    admission: Literal["wait", "strict"] = setting(
        "wait", "strict refuses what no connected worker can run"
    )
    durability: Literal["full", "process", "memory"] = setting(
        "memory", "full survives power loss, process a killed broker, memory nothing"
    )
    journal: str = setting("", "path of the journal; empty: the platform's data folder")
    record: str = setting("", "file to write every input to, for paintmq replay; empty: none")


@frozen(kw_only=True)
class TransportConfig:
    """How bytes travel."""

    shared_memory: bool = setting(
        True, "payloads on the broker's own machine lie in memory; false: all go over TCP"
    )


@frozen(kw_only=True)
class WorkersConfig:
    """The workers of this machine."""

    count: int | None = setting(None, "worker processes; unset: one a GPU and one for the CPU")
    memory_mb: int | None = setting(None, "memory a worker may fill with models; unset: measured")
    threads: int | None = setting(None, "CPU threads a worker uses; unset: all cores")
    pinned: tuple[str, ...] = setting((), "models to load at start and never evict")
    prefetch: int = setting(1, "tasks a worker holds beside the one it runs")
    idle_exit: float | None = setting(None, "seconds without a task after which a worker stops")


@frozen(kw_only=True)
class NodeConfig:
    """The nodes a broker with workers starts; `paintmq node` by itself needs none of these."""

    launcher: str = setting(
        LOCAL, "how they are started: local, in this process; see: paintmq plugins"
    )
    count: int = setting(1, "nodes to start", validator=_positive)
    connect: str = setting(
        "", "where they reach the broker, as tcp://HOST:PORT; empty: on this machine"
    )
    options: Mapping[str, Json] = table(dict[str, Json], "the launcher's own options")


@frozen(kw_only=True)
class HttpConfig:
    """The HTTP gateway, `paintmq http`."""

    host: str = setting("127.0.0.1", "address to bind")
    port: int = setting(5580, "TCP port to bind; 0: any", validator=_port)
    hosts: tuple[str, ...] = setting(
        (), "what a Host header may say; empty: the port on localhost and 127.0.0.1"
    )
    behind_proxy: bool = setting(
        False, "allow another address than loopback: something before it speaks TLS"
    )
    origins: tuple[str, ...] = setting(
        (), "pages of other sites that may use it, as https://studio.example"
    )
    root_path: str = setting("", "path it is reached at behind a proxy, as /paint")
    trusted_proxies: tuple[str, ...] = setting(
        (), "addresses or networks whose X-Forwarded headers count, as 10.0.0.0/8"
    )
    certificate: str = setting("", "file with the certificate chain, to speak TLS; PEM")
    certificate_key: str = setting("", "file with its key; empty: in the certificate's file")
    token_file: str = setting(
        "", "file with the operator's token; empty: in the platform's data folder"
    )
    tokens_file: str = setting(
        "", "file of the tokens of paintmq http tokens; empty: in the platform's data folder"
    )
    webhook_hosts: tuple[str, ...] = setting(
        (),
        "where webhooks may be sent: hooks.example.com, *.example.com, 10.0.0.0/8 ...; empty: none",
    )
    webhook_folder: str = setting(
        "", "folder of webhooks to be delivered; empty: in the platform's data folder"
    )
    apis: tuple[str, ...] = setting(
        ("v1", "openai", "a1111", "studio"), "what is served, in this order; see: paintmq plugins"
    )
    options: Mapping[str, Mapping[str, Json]] = table(
        dict[str, Mapping[str, Json]], "options of an API, by its name"
    )
    max_body_bytes: int = setting(64 * MIB, "one request's body", validator=_positive)
    max_bytes: int = setting(512 * MIB, "the bodies of all requests at once", validator=_positive)
    max_requests: int = setting(64, "requests at once", validator=_positive)


@frozen(kw_only=True)
class RouterConfig:
    """The router."""

    name: str = setting("model-affinity", "an installed router; see: paintmq plugins")
    parameters: Mapping[str, Json] = table(dict[str, Json], "its parameters")


@frozen(kw_only=True)
class MonitoringConfig:
    """What is measured, and how often."""

    enabled: bool = setting(True, "collect statistics")
    metrics_interval: float = setting(60, "seconds between two samples", validator=_positive)
    collect_queue_metrics: bool = setting(True, "sample the queues")
    collect_system_metrics: bool = setting(True, "sample CPU, memory and GPUs")
    history_interval: float = setting(
        1.0, "seconds between two points of the history, 1 to 60", validator=_up_to_a_minute
    )


@frozen(kw_only=True)
class PluginsConfig:
    """Which plugins are used."""

    disable: tuple[str, ...] = setting((), "plugins or distributions not to load")
    allow: tuple[str, ...] | None = setting(None, "load these plugins or distributions alone")
    load_limit: float = setting(
        10.0, "seconds one may take to load before it is set aside", validator=_positive
    )
    call_limit: float = setting(
        10.0, "seconds one may keep the broker's loop before it is interrupted", validator=_positive
    )
    settings: Mapping[str, Mapping[str, Json]] = table(
        dict[str, Mapping[str, Json]], "settings of a plugin, by its name"
    )


@frozen(kw_only=True)
class WeightsConfig:
    """Where model weights are looked for."""

    folder: str = setting("", "models folder; empty: the platform's data folder")
    paths: Mapping[str, str] = table(
        dict[str, str], "a file or folder for one weight file, by name"
    )
    offline: bool = setting(False, "never download")
    trusted_torchscript: tuple[str, ...] = setting((), "SHA-256 of TorchScript files to trust")


@frozen(kw_only=True)
class Config:
    """All settings."""

    broker: BrokerConfig = table(BrokerConfig, "the broker")
    queues: Mapping[str, QueueConfig] = table(
        lambda: dict(DEFAULT_QUEUE_CONFIGS), "the queues, by name"
    )
    router: RouterConfig = table(RouterConfig, "the router")
    transport: TransportConfig = table(TransportConfig, "how bytes travel")
    workers: WorkersConfig = table(WorkersConfig, "the workers of this machine")
    node: NodeConfig = table(NodeConfig, "the nodes to start")
    http: HttpConfig = table(HttpConfig, "the HTTP gateway")
    timers: Timers = table(Timers, "time limits, in seconds")
    limits: Limits = table(Limits, "limits")
    monitoring: MonitoringConfig = table(MonitoringConfig, "monitoring")
    plugins: PluginsConfig = table(PluginsConfig, "plugins")
    weights: WeightsConfig = table(WeightsConfig, "model weights")
