"""A RunContext that does what a test tells it to, and remembers what the model did."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from paintmq.errors import Cancelled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@define(kw_only=True)
class ScriptedContext:
    """What a model under test asks of its host."""

    scratch: Path
    cancel_after: int | None = None
    """Steps after whose report every task of the batch counts as cancelled; 0: from the start."""
    logger: logging.Logger = field(factory=lambda: logging.getLogger("paintmq.models"))
    steps: list[tuple[int, int]] = field(factory=list[tuple[int, int]])
    """What the model reported: step and total, in order."""
    previews: "list[NDArray[np.uint8]]" = field(factory=list)

    @property
    def cancelled(self) -> bool:
        return self.cancel_after is not None and len(self.steps) >= self.cancel_after

    def progress(self, step: int, total: int, preview: "NDArray[np.uint8] | None" = None) -> None:
        self.steps.append((step, total))
        if preview is not None:
            self.previews.append(preview)

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled

    def is_cancelled(self, index: int) -> bool:
        return self.cancelled
