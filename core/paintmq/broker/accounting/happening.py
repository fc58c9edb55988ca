"""What the broker's machine tells whoever counts: one plain value a happening. Pure.

The machine only appends it to a list: counting is done later, for many at once.
"""

from typing import Literal, TypeAlias

from attrs import frozen

from paintmq.task import TaskRequest, TaskState
from paintmq.task_status import TaskStatus

Transition: TypeAlias = tuple[str, TaskRequest, TaskStatus, TaskState]
"""A transition of a task: its event (of ``broker/machine/transitions.py``), the request, the status
after it, and the state before it. A plain tuple, as there are several for each task."""

Noted: TypeAlias = Literal[
    "rejected", "joined", "left", "draining", "loaded", "unloaded", "load failed", "moved"
]


@frozen
class Note:
    """Something else that happened."""

    what: Noted
    queue: str = ""
    """The queue a refused task had named, a moved one has left, or the home of the worker."""
    worker: str = ""
    model: str = ""
    detail: str = ""
    """The code of a refusal, or a reason."""
    seconds: float = 0.0
    """What a load took."""


Happening: TypeAlias = Transition | Note
