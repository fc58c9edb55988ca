"""What a running model may ask of its host: progress, cancellation, scratch space, a logger."""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from paintmq.errors import Cancelled, shown
from paintmq.plugin.answers import whole_number
from paintmq.units import MIB
from paintmq.worker.channel.messages import Key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROGRESS_INTERVAL = 0.1
"""Seconds before the first report and between two; others are dropped: progress is lossy by
contract, and a quick task's result tells everything."""
PREVIEW_INTERVAL = 0.5
MAX_PREVIEW = 64 * MIB
MOST_STEPS = 2**53


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
    _warned: bool = field(default=False, init=False)

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
        steps = _steps(step), _steps(total)
        if None in steps:
            # The report itself still says that the model is alive.
            self._warn("progress(%s, %s): steps are whole numbers from 0 on", step, total)
        self._report(steps[0] or 0, steps[1] or 0, self._checked(preview))

    def _checked(self, preview: object) -> "NDArray[np.uint8] | None":
        """Return a preview that can be sent; another one is left out."""
        if preview is None:
            return None
        try:
            if (pixels := _small_picture(preview)) is not None:
                return pixels
        except BaseException:  # noqa: BLE001 -- as for steps
            pass
        self._warn("a preview is an array of uint8 of 1 to %s bytes, not %s", MAX_PREVIEW, preview)
        return None

    def _warn(self, text: str, *values: object) -> None:
        if not self._warned:
            self._warned = True
            self.logger.warning(text, *map(shown, values))

    def raise_if_cancelled(self) -> None:
        if all(self._flags.is_set(key) for key in self._keys):
            raise Cancelled

    def is_cancelled(self, index: int) -> bool:
        return self._flags.is_set(self._keys[index])


def _steps(value: object) -> int | None:
    try:
        return whole_number(value, "steps", most=MOST_STEPS)
    except BaseException:  # noqa: BLE001 -- a model may report anything, and need not fail for it
        return None


def _small_picture(preview: object) -> "NDArray[np.uint8] | None":
    import numpy as np

    if not isinstance(preview, np.ndarray):
        return None
    pixels: NDArray[np.uint8] = np.asarray(preview)
    fits = pixels.ndim in (2, 3) and 0 < pixels.nbytes <= MAX_PREVIEW
    return pixels if fits and pixels.dtype == np.uint8 else None
