"""What ``paintmq doctor`` looks at: each function examines one thing and reports it."""

import os
import platform
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from paintmq.broker.machine.queues import unknown_models
from paintmq.broker.stores import journal_folder
from paintmq.broker.stores.disk_space import DiskSpace
from paintmq.cli import common_options
from paintmq.cli.common_options import client_endpoint, is_reachable
from paintmq.config import without_password
from paintmq.errors import ConfigError, PaintMQError, PortInUseError

if TYPE_CHECKING:
    from paintmq.config import BrokerConfig, Config
    from paintmq.plugin.manager import PluginManager

LEAST_LIBZMQ = (4, 3, 5)
"""Earlier ones let a stranger overflow the stack of a socket with keys (CVE-2019-13132), or hold
it up (CVE-2020-15166)."""
LEAST_TORCH = (2, 10)
"""Earlier ones can be made to run code, or corrupt memory, by weights that were not pinned by their
hash, also where they load "weights only" (CVE-2025-32434, CVE-2026-24747)."""


@frozen
class Finding:
    """The outcome of one check."""

    subject: str
    verdict: Literal["ok", "note", "problem"]
    text: str
    """What was found and, for a problem, the remedy."""


def examined(subject: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what a check finds; where it cannot even be made, as without a home folder, that is
    its finding and the other checks are made all the same.
    """
    try:
        return list(look())
    except (PaintMQError, OSError) as error:
        return [Finding(subject, "problem", str(error))]


def software() -> Iterator[Finding]:
    """Check the versions of what must not be too old."""
    from paintmq.broker.stores.database import SQLITE_VERSION
    from paintmq.transport.sockets import libzmq

    yield Finding("python", "ok", platform.python_version())
    yield zeromq(*libzmq())
    yield Finding("sqlite", "ok", SQLITE_VERSION)
    yield Finding("pillow", "ok", version("pillow"))
    yield torch(_version_or_none("torch"))


def zeromq(found: tuple[int, ...], has_keys: bool) -> Finding:
    """Judge a version of libzmq, built with keys (CURVE) or without."""
    text = ".".join(map(str, found))
    if found < LEAST_LIBZMQ:
        return Finding("libzmq", "problem", f"{text} has known holes: update pyzmq")
    if not has_keys:
        return Finding("libzmq", "note", f"{text}, built without keys (CURVE)")
    return Finding("libzmq", "ok", f"{text}, with keys (CURVE)")


def torch(found: str | None) -> Finding:
    """Judge a version of torch; None: it is not installed."""
    if found is None:
        return Finding("torch", "note", "not installed: models that need it run elsewhere")
    numbers = tuple(int(part) for part in found.split("+")[0].split(".")[:2] if part.isdecimal())
    if numbers < LEAST_TORCH:
        least = ".".join(map(str, LEAST_TORCH))
        text = f"{found} is unsafe with weights that are no safetensors: update to {least}"
        return Finding("torch", "note", text)
    return Finding("torch", "ok", found)


def machine() -> Iterator[Finding]:
    """List the hardware workers could use."""
    from paintmq.node.capabilities import detect

    found = detect()
    yield Finding("cpu", "ok", f"{found.cores} cores, {found.memory_mb} MB of memory")
    for gpu in found.gpus:
        yield Finding("gpu", "ok", f"{gpu.name}, {gpu.memory_mb} MB")
    if not found.gpus:
        yield Finding("gpu", "note", f"none: {found.no_gpus_because}")


def sharing(config: "Config") -> Finding:
    """Check whether pictures can go between processes of this machine without TCP."""
    from paintmq.shared_memory.memory_file import make_file, open_file
    from paintmq.shared_memory.reference import PAGE

    subject = "sharing"
    if not config.transport.shared_memory:
        text = "transport.shared_memory = false: payloads go over TCP on this machine too"
        return Finding(subject, "note", text)
    file = make_file(PAGE)
    if file is None:
        text = "files in memory cannot be made here: payloads go over TCP on this machine too"
        return Finding(subject, "note", text)
    if open_file(file.where) is None:
        text = "/proc does not show open files here: payloads go over TCP on this machine too"
        return Finding(subject, "note", text)
    text = "used by clients and workers that run as this user and see this machine's processes"
    return Finding(subject, "ok", text)


def files(config: "Config") -> Iterator[Finding]:
    """Check that a broker may open a file for each of its connections."""
    from paintmq.process.file_limit import most, peers_within, wanted

    allowed, peers = most(), config.limits.max_peers
    enough = peers_within(allowed, config)
    if enough < peers:
        text = (
            f"{allowed} at most are enough for {enough} clients and as many workers, not for "
            f"limits.max_peers = {peers}: raise the limit (LimitNOFILE=, ulimit -Hn) to "
            f"{wanted(config)}, or lower limits.max_peers"
        )
        yield Finding("files", "note", text)
    else:
        yield Finding("files", "ok", f"enough may be open for limits.max_peers = {peers}")


def plugins(manager: "PluginManager", config: "Config") -> Iterator[Finding]:
    """Check the installed plugins, and that the configured router is one of them."""
    reports = manager.reports()
    used = [report for report in reports if report.state == "ready"]
    yield Finding("plugins", "ok", f"{len(used)} in use, {len(manager.catalog().specs)} models")
    for report in reports:
        if report.state == "set aside":
            yield Finding("plugins", "problem", f"{report.title} is set aside: {report.reason}")
    try:
        manager.make_router(config.router)
    except PaintMQError as error:
        yield Finding("router", "problem", str(error))
    else:
        yield Finding("router", "ok", config.router.name)
    for line in unknown_models(config.queues, manager.catalog().specs):
        yield Finding("queues", "problem", line)


def models(config: "Config") -> Iterator[Finding]:
    """Start a model host, which otherwise happens only when a task needs one."""
    from paintmq.cli.host_trial import host_objection

    if objection := host_objection(config):
        yield Finding("models", "problem", f"a process to run them in {objection}")
    else:
        yield Finding("models", "ok", "a process to run them in starts")


def journal(broker: "BrokerConfig", stores: Container[str] = ()) -> Iterator[Finding]:
    """Check where the journal lies and the free space there. ``stores``: schemes of plugins."""
    if broker.journal.partition(":")[0] in stores:
        yield Finding("journal", "ok", f"{without_password(broker.journal)}, kept by a plugin")
        return
    if broker.durability == "memory":
        yield Finding("journal", "note", "in memory: a broker that stops forgets everything")
        return
    folder = journal_folder(broker)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not _is_writable(there):
        yield Finding("journal", "problem", f"{folder} cannot be written by this user")
        return
    space = DiskSpace.of(there)
    text = f"{folder} ({broker.durability}), {space.free / 2**30:.1f} GiB free"
    if shortage := space.shortage():
        remedy = f"short of {shortage}: new tasks are refused; make room"
        yield Finding("journal", "problem", f"{text}, {remedy}")
    else:
        yield Finding("journal", "ok", text)


def keys(broker: "BrokerConfig", queues: Collection[str]) -> Iterator[Finding]:
    """Check who may connect, and that the key files are valid."""
    from paintmq.broker.connections.endpoints import check_exposure
    from paintmq.transport.key_files import list_keys, load_broker_keys
    from paintmq.transport.key_review import review

    now = time.time_ns() / 1e9
    try:
        check_exposure(broker)
        if broker.keys:
            load_broker_keys(Path(broker.keys))
            allowed = list_keys(Path(broker.keys))
            good = sum(not key.terms.has_expired(now) for key in allowed)
            yield Finding("keys", "ok", f"{good} may connect, by {broker.keys}")
            for concern in review(allowed, queues=queues, now=now):
                yield Finding("keys", concern.verdict, concern.text)
        elif broker.insecure:
            text = f"none asked for at {broker.host}: whoever reaches it may run tasks"
            yield Finding("keys", "note", text)
        else:
            yield Finding("keys", "ok", f"none asked for: only this machine reaches {broker.host}")
        if broker.key:
            yield _own_key(broker.key, now)
    except ConfigError as error:
        yield Finding("keys", "problem", str(error))


def _own_key(path: str, now: float) -> Finding:
    from paintmq.transport.key_files import load_peer_key

    key = load_peer_key(Path(path))
    text, terms = f"{path} is a {key.role}'s", key.terms
    if terms.has_expired(now):
        return Finding("key", "problem", f"{text} and expired on {terms.end}: ask for another")
    if terms.expires_soon(now):
        return Finding("key", "note", f"{text} and expires on {terms.end}: ask for another")
    return Finding("key", "ok", text)


def ports(config: "Config") -> Iterator[Finding]:
    """Check whether a broker runs already or, if not, whether one could start."""
    endpoint = client_endpoint(config)
    if config.broker.port and is_reachable(endpoint):
        yield _who_listens(endpoint, config)
        return
    taken = list(_taken(config))
    yield from taken
    if not taken:
        yield Finding("ports", "ok", "free: no broker runs here, and one could start")


def _taken(config: "Config") -> Iterator[Finding]:
    from paintmq.transport.sockets import bind, new_context, router

    wanted = {"clients": config.broker.port}
    wanted |= {f"queue {name!r}": queue.port for name, queue in config.queues.items()}
    context = new_context()
    sockets = []
    try:
        for purpose, port in wanted.items():
            sockets.append(router(context))
            try:
                bind(sockets[-1], config.broker.host, port, purpose=purpose)
            except (PortInUseError, ConfigError) as error:
                yield Finding("ports", "problem", str(error))
    finally:
        for socket in sockets:
            socket.close(0)
        context.term()


def _who_listens(endpoint: str, config: "Config") -> Finding:
    from paintmq.client import Client

    try:
        with Client(endpoint, key=common_options.key_file(config.broker)) as client:
            client.connect(timeout=common_options.PATIENCE)
            told = client.ask("version", timeout=common_options.PATIENCE)
    except ConfigError:  # reported already, with the key
        return Finding("broker", "note", f"what listens at {endpoint} was not asked without a key")
    except (TimeoutError, PaintMQError) as error:
        text = f"what listens at {endpoint} is no broker, or asks for another key: {error}"
        return Finding("broker", "problem", text)
    known = told if isinstance(told, dict) else {}
    text = f"one runs at {endpoint}: paintmq {known.get('paintmq')}, {known.get('durability')}"
    return Finding("broker", "ok", text)


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _version_or_none(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
