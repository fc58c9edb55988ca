"""Launchers: ways of starting nodes, in this process, in another one, or on other machines.

A program that runs a broker with workers (``paintmq up``, an embedded QueueManager) asks the
launcher of ``[node] launcher`` for ``[node] count`` nodes, replaces those that end unexpectedly,
and stops them all in the end. A launcher starts what it is told to: ``paintmq node`` with some
arguments.

Rule 1: a launcher and its nodes are used by a thread of their own: a call that takes long delays
nothing but other nodes of the same launcher.
Rule 2: a node ends when its standard input does, so none outlives the program that started it.
"""

import contextlib
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import frozen

from paintmq.task import TaskId

if TYPE_CHECKING:
    import subprocess

SETTINGS_VARIABLE = "PAINTMQ_SETTINGS"
"""A variable with the text of a settings file: it takes the file's place."""


def own_program() -> tuple[str, ...]:
    """Return the start of a command line that runs this installation's ``paintmq`` command.

    Raises:
        ConfigError: this program knows no Python interpreter that it could start.
    """
    from paintmq.interpreter import interpreter

    return (*interpreter(), "-m", "paintmq")


@frozen(kw_only=True)
class NodeOrder:
    """One node that is to run."""

    name: str
    """Its name in the cluster: ``slurm-0``. An order that is repeated keeps its name."""
    number: int
    """0 for the first node."""
    arguments: tuple[str, ...]
    """Arguments of the ``paintmq`` command, wherever that is: ``("node", "--connect", …)``."""
    environment: Mapping[str, str]
    """Variables it needs: the settings that differ from the defaults, as ``PAINTMQ_SETTINGS``."""

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command line with this installation's own interpreter."""
        return (*own_program(), *self.arguments)

    def portable_command(self, program: Sequence[str] = ("paintmq",)) -> tuple[str, ...]:
        """Return a command line that carries the variables itself, where the environment is not
        passed on.

        Every user who may list that machine's processes can read the settings in it.
        """
        variables = (f"{name}={value}" for name, value in self.environment.items())
        return ("env", *variables, *program, *self.arguments)


@frozen
class NodeEnding:
    """How a node ended without having been stopped."""

    reason: str
    """For the log: ``exited with status 1: error: …``."""
    again: bool = True
    """Start it again after a while. False: it left on purpose, as a drained one does."""


class LaunchedNode(ABC):
    """One node that was started."""

    handed_back: tuple[TaskId, ...] = ()
    """Tasks it returned unharmed when it was stopped, where that is known."""

    @abstractmethod
    def wait(self, seconds: float) -> NodeEnding | None:
        """Wait at most this many seconds for it to end; return how it ended, None if it still
        runs.
        """

    @abstractmethod
    def stop(self, grace: float) -> None:
        """Ask it to finish or return what it runs within this many seconds; do not wait for it.

        A second call can only shorten the first one's grace.
        """

    @abstractmethod
    def kill(self) -> None:
        """End it now: it did not react to ``stop``."""


class Launcher(ABC):
    """Starts nodes. Created by the registered factory at every start of a broker."""

    @abstractmethod
    def launch(self, order: NodeOrder) -> LaunchedNode:
        """Start a node. What takes long, such as a place in a batch system, is left to ``wait``.

        Raises:
            ConfigError: the settings cannot work; the broker's start fails with it.
            Exception: it did not work out this time; it is tried again later.
        """

    def close(self) -> None:  # noqa: B027 -- most launchers hold nothing
        """Let go of what the launcher itself holds; all its nodes have ended."""


class ProcessNode(LaunchedNode):
    """A node behind a process of this machine: the node itself, or an ``ssh`` that holds it.

    What the process says is logged at level ``info`` below ``paintmq.launching``.
    """

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        """Use ``start``."""
        import threading

        self._name = name
        self._process = process
        self._said: deque[str] = deque(maxlen=3)
        self._reader = threading.Thread(target=self._read, name=f"paintmq-{name}", daemon=True)

    @classmethod
    def start(
        cls,
        order: NodeOrder,
        command: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> "ProcessNode":
        """Run the command, or else the order's own, with our variables, the order's and these.

        Raises:
            OSError: it cannot be run.
        """
        import subprocess

        process = subprocess.Popen(
            command or order.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**_without_settings(os.environ), **order.environment, **environment},
            start_new_session=True,  # Ctrl-C is for us to handle
        )
        node = cls(order.name, process)
        node._reader.start()
        return node

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def said(self) -> tuple[str, ...]:
        """The last lines it has written."""
        return tuple(self._said)

    def wait(self, seconds: float) -> NodeEnding | None:
        import subprocess

        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._close()
        how = f"exited with status {status}" if status >= 0 else f"was killed by signal {-status}"
        return NodeEnding(": ".join([how, *self._said]), again=status != 0)

    def stop(self, grace: float) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it is gone, its pipe perhaps closed
            self._process.stdin.write(f"stop {grace}\n".encode())
            self._process.stdin.flush()

    def kill(self) -> None:
        import signal

        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()

    def _read(self) -> None:
        import logging

        assert self._process.stdout is not None
        logger = logging.getLogger(__name__)
        for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()[:2000]
            self._said.append(text)
            logger.info("%s: %s", self._name, text)

    def _close(self) -> None:
        """Close the pipes. Processes it started may still hold the other ends and write on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._reader.join(timeout=1.0)
        if not self._reader.is_alive():
            self._process.stdout.close()


def _without_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """Remove settings: the order already contains them, and these would override it."""
    return {
        name: value
        for name, value in variables.items()
        if not (name.startswith("PAINTMQ_") and "__" in name)
    }
