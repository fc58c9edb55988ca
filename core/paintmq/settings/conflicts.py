"""Conflicts between settings; each setting by itself is checked where it is defined."""

from itertools import pairwise

from paintmq.config import LOCAL, BrokerConfig, Config
from paintmq.transport.addresses import is_loopback


def conflicts(config: Config) -> list[str]:
    """Return every pair of settings that contradict each other, one line each."""
    return [
        *_ports(config),
        *_exposure(config),
        *_queues(config),
        *_order(config),
        *_nodes(config),
        *_http(config),
    ]


def _ports(config: Config) -> list[str]:
    """Name two users of one port; port 0 asks the system for a free one."""
    users: dict[int, str] = {}
    found = [
        f"queues.{name}.advertise_port = {queue.advertise_port} needs queues.{name}.transport ="
        " 'router': the pipes of 'pushpull' are on ports that nothing between could know"
        for name, queue in config.queues.items()
        if queue.advertise_port and queue.transport == "pushpull"
    ]
    taken = {"broker": config.broker.port}
    taken |= {f"queues.{name}": queue.port for name, queue in config.queues.items()}
    for user, port in taken.items():
        if port and port in users:
            found.append(f"{user}.port = {port} is also {users[port]}.port")
        users.setdefault(port, user)
    return found


def exposure(broker: BrokerConfig) -> str:
    """Return why strangers could reach the broker without having been allowed to; else ""."""
    if broker.keys or broker.insecure or is_loopback(broker.host):
        return ""
    return (
        f"broker.host = {broker.host!r} lets anyone who reaches that address run tasks and connect"
        " workers; make keys with `paintmq keys init FOLDER` and set broker.keys, or use"
        " 127.0.0.1, or, if its network is trusted, say so with broker.insecure = true"
    )


def _exposure(config: Config) -> list[str]:
    return [objection] if (objection := exposure(config.broker)) else []


def _http(config: Config) -> list[str]:
    http = config.http
    if http.certificate_key and not http.certificate:
        return ["http.certificate_key is set, and http.certificate is not"]
    if http.behind_proxy or http.certificate or is_loopback(http.host):
        return []
    return [
        f"http.host = {http.host!r} would send its token unencrypted; let a proxy that speaks TLS"
        " stand before it, set http.hosts to its name, and say so with http.behind_proxy = true,"
        " or speak TLS with http.certificate"
    ]


def _queues(config: Config) -> list[str]:
    if not config.queues:
        return ["queues: there must be at least one"]
    return [
        f"queues.{name}.gpu_memory_mb = {queue.gpu_memory_mb} needs queues.{name}.device = 'cuda'"
        for name, queue in config.queues.items()
        if queue.device != "cuda" and queue.gpu_memory_mb
    ]


def _order(config: Config) -> list[str]:
    timers, limits = config.timers, config.limits
    found = []
    if timers.lease < 2 * timers.heartbeat:
        found.append(
            f"timers.lease = {timers.lease:g} must be at least twice timers.heartbeat ="
            f" {timers.heartbeat:g}, or one lost heartbeat costs a worker its tasks"
        )
    ascending = (
        ("timers.retry_first", timers.retry_first, "timers.retry_most", timers.retry_most),
        *(
            (low, getattr(limits, low.split(".")[1]), high, getattr(limits, high.split(".")[1]))
            for low, high in pairwise(
                (
                    "limits.max_payload_bytes",
                    "limits.max_task_bytes",
                    "limits.max_bytes_in_flight",
                )
            )
        ),
    )
    found += [
        f"{low} = {smaller:g} must not be greater than {high} = {larger:g}"
        for low, smaller, high, larger in ascending
        if smaller > larger
    ]
    return found


def _nodes(config: Config) -> list[str]:
    node = config.node
    if node.launcher != LOCAL:
        return []
    found = []
    if node.count > 1:
        found.append(
            f"node.count = {node.count} needs another node.launcher than 'local': one node has all"
            " devices of its machine; for more workers set workers.count"
        )
    if node.options:
        found.append("node.options has no use with node.launcher = 'local'")
    return found
