"""The model host: the child process of a worker in which plugin code runs.

``python -m paintmq.worker.host FD PARENT`` is started by an agent (``host_process.py``), speaks
with it over the socket FD, and ends when that socket does: no host outlives its agent.

Two threads: this one computes, the other reads orders, sets cancel flags and beats. Both send, one
message at a time. What is sent has left the process when ``send`` returns, so that the agent knows
at any crash what had been done before.
"""

import contextlib
import ctypes
import faulthandler
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Never

import msgspec
from attrs import define, field

from paintmq.config import Limits, PluginsConfig, WeightsConfig
from paintmq.errors import PluginError, WireError
from paintmq.model import Device, ModelSpec
from paintmq.process import allocator
from paintmq.process.memory import device_memory_free_mb, resident_mb
from paintmq.task import Buffer
from paintmq.weights import WeightFolder
from paintmq.worker.channel.arena import ArenaFiles, IncomingArena, OutgoingArena
from paintmq.worker.channel.batch_mark import BatchMark
from paintmq.worker.channel.framing import FrameReader, HostDelivery, encode, encode_unused
from paintmq.worker.channel.messages import (
    CancelItem,
    Configure,
    FromHost,
    HostBeat,
    HostLeaving,
    HostReady,
    Load,
    Run,
    Shutdown,
    Unload,
)
from paintmq.worker.channel.spec_outline import spec_of
from paintmq.worker.host.model_runner import HostSetup, ModelRunner
from paintmq.worker.host.output_capture import OutputCapture
from paintmq.worker.host.run_context import CancelFlags

BEAT_INTERVAL = 1.0
OOM_SCORE = 500
"""Of 1000: where memory runs out, the system kills a model host before its node or a broker."""
_MAX_PAYLOAD = 1 << 40  # the agent's limits hold; it is the other end of a socketpair

logger = logging.getLogger(__name__)


@define(eq=False)
class HostConnection:
    """The host's end of the socketpair."""

    _socket: socket.socket
    _outgoing: OutgoingArena | None = None
    _incoming: IncomingArena | None = None
    flags: CancelFlags = field(factory=CancelFlags)
    orders: "queue.SimpleQueue[HostDelivery]" = field(factory=queue.SimpleQueue, init=False)
    _sending: threading.Lock = field(factory=threading.Lock, init=False)
    _pid: int = field(factory=os.getpid, init=False)

    def send(self, message: FromHost, payloads: Sequence[Buffer] = ()) -> None:
        """Write the message; return when the kernel has it all. Safe from any thread.

        Raises:
            RuntimeError: in a child that a model has forked, which shares the socket and would
                answer for its parent.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a process that a model forked cannot speak for it, and must end")
        pieces = encode(message, payloads, self._outgoing)
        with self._sending:
            if self._incoming is not None:
                pieces = [*encode_unused(self._incoming.unused()), *pieces]
            while pieces:
                sent = self._socket.sendmsg(pieces[:64])
                while pieces and sent >= pieces[0].nbytes:
                    sent -= pieces.pop(0).nbytes
                if sent:
                    pieces[0] = pieces[0][sent:]

    def leave_in_child(self) -> None:
        """Close the socket in a child that a model has forked: it would hide our end from the
        agent.
        """
        self._socket.close()

    def serve_forever(self) -> Never:
        """Read orders and beat until the agent is gone; then end the process at once.

        The end of the process is the only end: nothing may be computed for an agent that is gone.
        """
        try:
            self._serve()
        except (OSError, WireError) as error:
            print(f"the model host lost its agent: {error}", file=sys.stderr)  # noqa: T201
        os._exit(0)

    def _serve(self) -> None:
        reader = FrameReader(_MAX_PAYLOAD, self._incoming, self._outgoing)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        beat_at = time.monotonic()
        while True:
            wait = beat_at - time.monotonic()
            if wait <= 0:
                self.send(
                    HostBeat(
                        memory_mb=resident_mb(without_shared=True),
                        gpu_memory_free_mb=device_memory_free_mb(),
                    )
                )
                beat_at = time.monotonic() + BEAT_INTERVAL
            elif poll.poll(wait * 1000):
                count = self._socket.recv_into(reader.space())
                if not count:
                    return
                for delivery in reader.received(count):
                    self._sort(delivery)

    def _sort(self, delivery: HostDelivery) -> None:
        """Let a cancel overtake what is queued; everything else waits its turn."""
        if isinstance(delivery.message, CancelItem):
            self.flags.set((delivery.message.task_id, delivery.message.fence))
        else:
            self.orders.put(delivery)


def main(arguments: Sequence[str] = ()) -> None:
    """Serve the agent at the other end of the socket, until it says Shutdown or goes."""
    descriptor, parent = (int(argument) for argument in arguments or sys.argv[1:])
    _become_a_child_of(parent)
    allocator.keep()
    output = OutputCapture()
    output.install()
    os.set_inheritable(descriptor, False)  # noqa: FBT003 -- it takes no keyword
    arenas = ArenaFiles.inherited()
    ends = (None, None) if arenas is None else arenas.ends_of_host()
    connection = HostConnection(socket.socket(fileno=descriptor), *ends)
    os.register_at_fork(after_in_child=connection.leave_in_child)
    threading.Thread(target=connection.serve_forever, name="host-io", daemon=True).start()
    runner = _make_runner(connection, output)
    connection.send(HostReady())
    while not runner.broken:
        delivery = connection.orders.get()
        match delivery.message:
            case Load(model):
                runner.load(model)
            case Unload(model):
                runner.unload(model)
            case Run() as order:
                runner.run(order, delivery.payloads)
            case Shutdown():
                runner.unload_all()
                return
            case other:
                raise WireError(f"a model host was sent {type(other).__name__}")
        # The buffers of a batch must not live on while the host waits for the next.
        del delivery
    connection.send(HostLeaving(runner.broken))


def _become_a_child_of(parent: int) -> None:
    """Die with the agent and before it, leave Ctrl-C to it, keep stdout clean, and leave a trace of
    a crash, but no file of gigabytes.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        with contextlib.suppress(OSError):  # the system may be stricter already
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    with contextlib.suppress(ImportError, ValueError, OSError):  # there is none on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.getppid() != parent:  # it died before that
        sys.exit("the agent is gone")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)
    faulthandler.enable()


def _make_runner(connection: HostConnection, output: OutputCapture) -> ModelRunner:
    configure = connection.orders.get().message
    if not isinstance(configure, Configure):
        raise WireError(f"a model host was first sent {type(configure).__name__}")
    sys.path.extend(entry for entry in configure.path if entry not in sys.path)
    setup = HostSetup(
        specs=_specs(configure),
        device=Device(
            kind=configure.device,
            name=configure.device_name,
            memory_mb=configure.device_memory_mb,
            threads=configure.threads,
        ),
        weights=WeightFolder(msgspec.convert(configure.weights, WeightsConfig)),
        limits=msgspec.convert(configure.limits, Limits),
        scratch=Path(configure.scratch),
    )
    mark = BatchMark.at(configure.mark)
    os.register_at_fork(after_in_child=mark.leave_in_child)
    return ModelRunner(setup, connection.send, connection.flags, mark, output)


def _specs(configure: Configure) -> dict[str, ModelSpec]:
    from paintmq.plugin.manager import PluginManager

    installed = PluginManager.installed(PluginsConfig(**configure.plugins))
    specs = dict(installed.catalog().specs)
    for outline in configure.models:
        if outline.name not in specs:
            try:
                specs[outline.name] = spec_of(outline)
            except PluginError as error:
                logger.warning("model %s cannot be used: %s", outline.name, error)
    return specs
