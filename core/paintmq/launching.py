"""Launchers: ways of starting nodes, in this process, in another one, or on other machines.

Whoever runs a broker with workers (``paintmq up``, an embedded QueueManager) asks the launcher of
``[node] launcher`` for ``[node] count`` nodes, replaces those that end unasked, and stops them all
in the end. A launcher only starts what it is told: ``paintmq node`` with some arguments.

Rule 1: a launcher and its nodes are used by one thread, which is no other's: a call that takes
long holds up nothing but other nodes of the same launcher.
Rule 2: a node ends when its standard input does, so none outlives whoever started it.
"""

import contextlib
import os
import sys
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


@frozen(kw_only=True)
class NodeOrder:
    """One node that is to run."""

    name: str
    """Its name in the cluster: ``slurm-0``. The same order again means the same name again."""
    number: int
    """0 for the first node."""
    arguments: tuple[str, ...]
    """For the ``paintmq`` command, wherever that is: ``("node", "--connect", …)``."""
    environment: Mapping[str, str]
    """Variables it needs: the settings that differ from the defaults, as ``PAINTMQ_SETTINGS``."""

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command line with this installation's own interpreter."""
        return (sys.executable, "-m", "paintmq", *self.arguments)

    def portable_command(self, program: Sequence[str] = ("paintmq",)) -> tuple[str, ...]:
        """Return a command line that carries the variables itself, for where none are passed on.

        Whoever may list that machine's processes can read the settings in it.
        """
        variables = (f"{name}={value}" for name, value in self.environment.items())
        return ("env", *variables, *program, *self.arguments)


@frozen
class NodeEnding:
    """How a node ended without having been stopped."""

    words: str
    """For the log: ``exited with status 1: error: …``."""
    again: bool = True
    """Start it again, after a while. False: it left on purpose, as a drained one does."""


class LaunchedNode(ABC):
    """One node that was started."""

    handed_back: tuple[TaskId, ...] = ()
    """Tasks it gave back unharmed when it was stopped, where that is known."""

    @abstractmethod
    def wait(self, seconds: float) -> NodeEnding | None:
        """Return how it ended, waiting for that at most so long; None: it runs."""

    @abstractmethod
    def stop(self, grace: float) -> None:
        """Ask it to finish or hand back what runs within so many seconds, and return at once.

        A second call can only shorten the first one's grace.
        """

    @abstractmethod
    def kill(self) -> None:
        """End it now: it did not heed ``stop``."""


class Launcher(ABC):
    """Starts nodes. Made once for every start of a broker, by the factory that was registered."""

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
            start_new_session=True,  # Ctrl-C is ours to handle
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
        """Let go of the pipes. What it started may still hold their other ends, and talk on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._reader.join(timeout=1.0)
        if not self._reader.is_alive():
            self._process.stdout.close()


def _without_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """Leave out settings: what they came to is in the order, and they would override it."""
    return {
        name: value
        for name, value in variables.items()
        if not (name.startswith("PAINTMQ_") and "__" in name)
    }
