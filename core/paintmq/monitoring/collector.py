"""Something that is measured now and then, and must not end the measuring when it fails."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")

logger = logging.getLogger(__name__)


@define
class Collector(Generic[T]):
    """Calls a function; its failures are counted, told of once, and tried again each time."""

    name: str
    """What is collected, as in ``the GPUs``: for the log."""
    _collect: Callable[[], T]
    _is_ending: Callable[[], bool] = lambda: False
    """Failures at the end are no news: what is asked has ended."""
    failures: int = field(default=0, init=False)
    """How often it has failed."""
    _in_a_row: int = field(default=0, init=False)

    def __call__(self) -> T | None:
        """Return what was collected; None if that failed."""
        try:
            value = self._collect()
        except Exception as error:  # noqa: BLE001 -- whatever a driver or a system call raises
            self.failures += 1
            self._in_a_row += 1
            if self._in_a_row == 1 and not self._is_ending():
                logger.warning(
                    "%s cannot be collected (%s: %s); it is tried again each time",
                    self.name,
                    type(error).__name__,
                    error,
                )
            return None
        if self._in_a_row:
            logger.warning("%s: collected again, after %d failures", self.name, self._in_a_row)
            self._in_a_row = 0
        return value
