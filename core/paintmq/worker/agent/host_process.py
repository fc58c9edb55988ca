"""The agent's end of a model host: starting it, speaking with it, seeing it die.

``subprocess`` and never ``multiprocessing``: spawning would run the caller's main module again.
Nothing here blocks: the agent's loop calls ``read`` and ``write`` when the socket is ready.
"""

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
from attrs import define, field

from paintmq.interpreter import HOST_VARIABLE, interpreter
from paintmq.process.cgroups import oom_kills
from paintmq.wire.transfer import Payload
from paintmq.worker.agent.strays import kill_strays, new_mark
from paintmq.worker.channel.arena import ARENAS_VARIABLE, ArenaFiles
from paintmq.worker.channel.framing import FrameReader, HostDelivery, encode, encode_unused
from paintmq.worker.channel.marked_output import OutputLine, OutputReader
from paintmq.worker.channel.messages import ToHost

READ_BUDGET = 64
"""Reads of one turn of the loop: a busy host must not starve the broker's messages."""
_TAIL = 40
"""Last lines of the host's output, kept to explain its death: for a fault, the traceback."""

_SCRATCH = "paintmq-host-"
_MODULE = "paintmq.worker.host"

logger = logging.getLogger(__name__)


def sweep_scratch() -> None:
    """Remove the scratch folders that killed nodes of this user left behind."""
    try:
        folders = Path(tempfile.gettempdir())
    except OSError:  # there is none; starting a host says so
        return
    for folder in folders.glob(f"{_SCRATCH}*-*"):
        owner = folder.name.removeprefix(_SCRATCH).partition("-")[0]
        with contextlib.suppress(OSError):
            ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
            if ours and owner.isdigit() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(folder, ignore_errors=True)


@define(eq=False)
class HostProcess:
    """One child process. Call ``close`` when it is gone, or to be rid of it."""

    name: str
    """Of the worker, for the log."""
    scratch: str
    process: "subprocess.Popen[bytes]"
    socket: socket.socket
    exit_descriptor: int
    """Readable once the process has ended (pidfd); -1 where the system has no such thing."""
    _reader: FrameReader
    _mark: str
    """By which what it has started is found."""
    at_end: bool = field(default=False, init=False)
    """The host has closed its end: it is gone, or about to go."""
    stderr_closed: bool = field(default=False, init=False)
    """It has closed its standard output and error: nothing more will come."""
    _oom_kills_before: int = field(factory=oom_kills, init=False)
    _unsent: deque[memoryview] = field(factory=deque[memoryview], init=False)
    hear: Callable[[list[OutputLine]], None] = field(default=lambda lines: None, init=False)
    """Called with what it, or a model in it, prints and logs."""
    _last_lines: deque[str] = field(factory=lambda: deque[str](maxlen=_TAIL), init=False)
    _output: OutputReader = field(factory=OutputReader, init=False)

    @classmethod
    def start(
        cls, name: str, *, environment: Mapping[str, str], max_payload_bytes: int
    ) -> "HostProcess":
        """Start a host with these variables beside our own.

        Raises:
            OSError: the system cannot start another process.
            ConfigError: there is no interpreter to start it with.
        """
        program = interpreter()
        ours, theirs = socket.socketpair()
        scratch, mark = "", new_mark()
        arenas = ArenaFiles.make()
        try:
            scratch = tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-")
            descriptor = theirs.fileno()
            # A session of its own: Ctrl-C is the supervisor's to handle, and what the model starts
            # can be killed with it.
            process = subprocess.Popen(
                [*program, "-m", _MODULE, str(descriptor), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={
                    **os.environ,
                    **environment,
                    HOST_VARIABLE: mark,
                    ARENAS_VARIABLE: arenas.text if arenas else "",
                },
                pass_fds=(descriptor, *(arenas.descriptors if arenas else ())),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            if arenas is not None:
                arenas.close()
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        finally:
            theirs.close()
        ours.setblocking(False)  # noqa: FBT003 -- it takes no keyword
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        exit_descriptor = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
        reader = FrameReader(max_payload_bytes)
        if arenas is not None:
            reader.outgoing, reader.incoming = arenas.ends_of_agent()
        return cls(name, scratch, process, ours, exit_descriptor, reader, mark)

    @property
    def stderr_descriptor(self) -> int:
        """Readable when the host has written to its standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.fileno()

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines that it wrote to its standard error; empty ones are left out."""
        return tuple(line for line in self._last_lines if line)

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    def send(self, message: ToHost, payloads: Sequence[Payload] = ()) -> None:
        """Queue the message and write what fits; a host that is gone gets nothing."""
        incoming = self._reader.incoming
        if incoming is not None:
            self._unsent.extend(encode_unused(incoming.unused()))
        self._unsent.extend(encode(message, payloads, self._reader.outgoing))
        self.write()

    def write(self) -> None:
        """Write what fits now."""
        try:
            while self._unsent:
                sent = self.socket.sendmsg([*self._unsent][:64])
                while self._unsent and sent >= self._unsent[0].nbytes:
                    sent -= self._unsent.popleft().nbytes
                if sent:
                    self._unsent[0] = self._unsent[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # its exit is about to be seen

    def read(self, *, budget: int = READ_BUDGET) -> list[HostDelivery]:
        """Return the messages that have come, as far as one turn's budget goes.

        Raises:
            WireError: the host sent something that is not our protocol; kill it.
        """
        deliveries: list[HostDelivery] = []
        for _ in range(budget):
            try:
                count = self.socket.recv_into(self._reader.space())
            except BlockingIOError:
                break
            except OSError:
                count = 0
            if not count:
                self.at_end = True
                break
            deliveries += self._reader.received(count)
        return deliveries

    def _read_stderr_to_end(self) -> None:
        """Read what is in the pipe, at most the mebibyte that a pipe can hold: a host that keeps
        writing must not keep us here.
        """
        for _ in range(16):
            if not self.read_stderr():
                return

    def read_stderr(self) -> bool:
        """Hear what the host, or a model in it, wrote to its standard output or error.

        Returns whether there was anything.
        """
        assert self.process.stderr is not None
        try:
            data = os.read(self.process.stderr.fileno(), 65536)
        except BlockingIOError:
            return False
        if data:
            self._heard(self._output.feed(data))
        self.stderr_closed = not data
        return bool(data)

    def forget_lines(self) -> None:
        """Forget what it has printed until now."""
        self._read_stderr_to_end()
        self._heard(self._output.flush())
        self._last_lines.clear()

    def _heard(self, lines: list[OutputLine]) -> None:
        if lines:
            self._last_lines.extend(line.text for line in lines)
            self.hear(lines)

    def is_stopped(self) -> bool:
        """Return whether the system has stopped the process (SIGSTOP): it cannot beat."""
        try:
            return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    def exit_description(self) -> str | None:
        """Return how the process ended, as part of a sentence; None while it lives."""
        status = self.process.poll()
        if status is None and self.at_end:
            status = self._insist_on_exit()
        if status is None:
            return None
        if status < 0:
            by = _signal_name(-status)
            # The kernel's choice or ours, it is the same signal; only the group's count tells.
            memory = by == "SIGKILL" and oom_kills() > self._oom_kills_before
            return f"was killed by {by}" + (" for using too much memory" if memory else "")
        return f"exited with status {status}"

    def _insist_on_exit(self) -> int:
        """Return the status of a process that closed its socket: it is of no further use."""
        try:
            return self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()

    def kill(self) -> None:
        """Kill the process and what it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            self.process.kill()

    def close(self) -> None:
        """Make sure that nothing of the host is left: process, descriptors, scratch folder."""
        self.kill()
        self.process.wait()
        kill_strays(self._mark)
        self._read_stderr_to_end()
        self._heard(self._output.flush())
        self.socket.close()
        if self._reader.incoming is not None:
            self._reader.incoming.close()
        if self.exit_descriptor >= 0:
            os.close(self.exit_descriptor)
        assert self.process.stderr is not None
        self.process.stderr.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
