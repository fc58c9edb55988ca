"""What ties a node to the launcher that started it: standard input."""

import os
import threading
from typing import TYPE_CHECKING

from paintmq.cli.signals import Signals

if TYPE_CHECKING:
    from paintmq.node.supervisor import NodeSupervisor


class Tether:
    """Reads ``stop SECONDS`` from standard input; its end, when the launcher dies, says the same.

    A pipe passes through ``ssh``, containers and batch systems, where signals do not.
    """

    def __init__(self, signals: Signals, grace: float) -> None:
        self.grace = grace
        """Seconds that running attempts have when the node is to stop."""
        self._signals = signals
        self._node: NodeSupervisor | None = None
        self._thread = threading.Thread(target=self._read, name="tether", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hold(self, node: "NodeSupervisor") -> None:
        """Set the node that is told to stop at once, even while it is stopping already."""
        self._node = node

    def _read(self) -> None:
        # Not through sys.stdin, whose lock a thread that waits in it would hold at exit.
        text = b""
        while data := os.read(0, 1024):
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                word, _, seconds = line.strip().partition(b" ")
                if word == b"stop":
                    self._stop(_seconds(seconds, self.grace))
        self._stop(self.grace)

    def _stop(self, grace: float) -> None:
        self.grace = min(grace, self.grace)
        self._signals.ask_to_stop()
        if self._node is not None:
            self._node.request_stop(grace=self.grace)


def _seconds(text: bytes, otherwise: float) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return otherwise
