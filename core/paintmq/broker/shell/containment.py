"""Keeps a fault inside the input that caused it, so that no plugin, peer or bug stops the broker.

Whatever the machine does with an input, or the shell with one peer's messages, may raise: the fault
is logged with its input, counted, and ends that task or session alone. It ends the broker only if
nothing works any more, for then a restart may help and a broker that merely seems to run cannot.
"""

import logging
import threading
from collections.abc import Callable

from attrs import define, field

from paintmq.errors import PaintMQError, StoreError
from paintmq.statistics import ShellStatistics
from paintmq.transport.sockets import sockets_are_gone

logger = logging.getLogger(__name__)

HOPELESS = 30.0
"""Seconds in which every step failed, after which the broker ends."""
SHOWN = 2_000
"""Characters of an input in the log."""
LINES = 20
"""Faults logged in full; later ones are thinned out: a plugin may fail at every task."""


class MachineFailedError(PaintMQError):
    """No input could be handled for so long that the broker cannot be said to work."""


@define
class Containment:
    """Decides what a caught exception means; to be called in the broker's thread."""

    _statistics: ShellStatistics
    _failing_since: float | None = field(default=None, init=False)

    def succeeded(self) -> None:
        """Record that the machine has handled an input."""
        self._failing_since = None

    def machine_failed(self, error: BaseException, what: Callable[[], object], now: float) -> None:
        """Log and count a step that raised.

        Raises:
            BaseException: the error itself, if it must end the broker.
            MachineFailedError: no step has succeeded for long.
        """
        self.caught(error, what)
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since > HOPELESS:
            raise MachineFailedError(
                f"every input failed for {HOPELESS:.0f} s, the last with {type(error).__name__}: "
                f"see the log"
            ) from error

    def caught(self, error: BaseException, what: Callable[[], object]) -> None:
        """Log and count a fault; ``what`` returns the input that caused it.

        Raises:
            BaseException: the error itself, if it must end the broker.
        """
        if _ends_the_broker(error):
            raise error
        self._statistics.faults += 1
        count = self._statistics.faults
        if count <= LINES or count % 100 == 0:
            logger.error("fault %d, contained: %s", count, _shown(what), exc_info=error)


def _ends_the_broker(error: BaseException) -> bool:
    """Return whether to go on would be wrong, or somebody wants the broker to end."""
    match error:
        case StoreError() | MachineFailedError():
            return True  # nothing more can be made durable
        case KeyboardInterrupt():
            # A real one arrives in the main thread. Anywhere else a plugin raised it.
            return threading.current_thread() is threading.main_thread()
        case _:
            return sockets_are_gone(error)


def _shown(what: Callable[[], object]) -> str:
    """Return the input as text, whatever its parts do when they are shown."""
    try:
        text = repr(what())
    except Exception as error:  # noqa: BLE001 -- the fault itself must be logged all the same
        return f"an input that cannot be shown ({type(error).__name__})"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
