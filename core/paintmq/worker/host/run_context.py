"""What a running model may ask of its host: progress, cancellation, scratch space, a logger."""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from paintmq.errors import Cancelled
from paintmq.worker.channel.messages import Key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROGRESS_INTERVAL = 0.1
"""Seconds before the first report and between two; others are dropped: progress is lossy by
contract, and a quick task's result tells everything."""
PREVIEW_INTERVAL = 0.5


@define(eq=False)
class CancelFlags:
    """Attempts the broker has abandoned: set by the I/O thread, read by the one that computes.

    Every method is one dictionary operation, which the interpreter does as a whole.
    """

    _keys: dict[Key, None] = field(factory=dict[Key, None], init=False)

    def set(self, key: Key) -> None:
        self._keys[key] = None

    def clear(self, key: Key) -> None:
        self._keys.pop(key, None)

    def is_set(self, key: Key) -> bool:
        return key in self._keys


@define(eq=False)
class HostRunContext:
    """The RunContext of one call of ``run``; use it as a context manager."""

    _keys: Sequence[Key]
    """The attempts of the batch, in order."""
    _flags: CancelFlags
    _report: "Callable[[int, int, NDArray[np.uint8] | None], None]"
    _scratch_root: Path
    logger: logging.Logger
    _scratch: Path | None = field(default=None, init=False)
    _report_at: float = field(factory=lambda: time.monotonic() + PROGRESS_INTERVAL, init=False)
    _preview_at: float = field(default=0.0, init=False)

    def __enter__(self) -> "HostRunContext":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """An empty folder, created when first asked for and removed after the attempt."""
        if self._scratch is None:
            task_id, fence = self._keys[0]
            self._scratch = self._scratch_root / f"{task_id}-{fence.attempt}"
            self._scratch.mkdir(parents=True)
        return self._scratch

    def progress(self, step: int, total: int, preview: "NDArray[np.uint8] | None" = None) -> None:
        now = time.monotonic()
        if now < self._report_at:
            return
        self._report_at = now + PROGRESS_INTERVAL
        if preview is not None and now < self._preview_at:
            preview = None
        if preview is not None:
            self._preview_at = now + PREVIEW_INTERVAL
        self._report(step, total, preview)

    def raise_if_cancelled(self) -> None:
        if all(self._flags.is_set(key) for key in self._keys):
            raise Cancelled

    def is_cancelled(self, index: int) -> bool:
        return self._flags.is_set(self._keys[index])
