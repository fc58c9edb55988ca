"""What models have printed and logged of late, numbered for whoever follows it. Pure.

As in ``events.py`` a reader has no state here, so a slow one costs nobody anything. Memory is
bounded by lines and by characters; the oldest go first, and a reader is told how many it missed.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from attrs import define, field, frozen

from paintmq.broker.accounting.events import Told
from paintmq.task import Json, TaskId

MOST_LINES, MOST_CHARACTERS = 20_000, 8 << 20
"""That are kept."""
MOST_TOLD, MOST_TOLD_CHARACTERS = 500, 256 << 10
"""Of one answer."""
_OVERHEAD = 200
"""Characters that a line counts beside its text."""

_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"), (1, "debug"))


@frozen
class LoggedTask:
    """A task that a line is of."""

    id: TaskId
    owner: str


@frozen
class KeptLine:
    """A line, or a note of how many are lacking."""

    at: float
    worker: str
    text: str
    level: int = 0
    tasks: tuple[LoggedTask, ...] = ()
    dropped: int = 0
    """Lines that were dropped before this; then there is no text."""

    @property
    def size(self) -> int:
        return _OVERHEAD + len(self.text) + 100 * len(self.tasks)


@frozen(kw_only=True)
class LogFilter:
    """Which lines are wanted; "" is any."""

    worker: str = ""
    task: str = ""

    def takes(self, line: KeptLine) -> bool:
        if self.worker not in ("", line.worker):
            return False
        return not self.task or any(self.task == each.id for each in line.tasks)


@define
class LogBook:
    """The last lines."""

    _kept: deque[KeptLine] = field(factory=deque[KeptLine], init=False)
    _characters: int = field(default=0, init=False)
    last: int = field(default=0, init=False)
    """The number of the last line, counted from the broker's start."""
    dropped: int = field(default=0, init=False)
    """Lines that workers have dropped."""

    def add(self, lines: Sequence[KeptLine]) -> None:
        """Number these and keep them."""
        for line in lines:
            self._kept.append(line)
            self._characters += line.size
            self.last += 1
            self.dropped += line.dropped
        while len(self._kept) > MOST_LINES or self._characters > MOST_CHARACTERS:
            self._characters -= self._kept.popleft().size

    def tell(
        self, after: int, wanted: LogFilter, sees: Callable[[str], bool], *, is_admin: bool
    ) -> Told:
        """Return what came after that number, and may be told to whoever asks.

        A line of several tasks is told to whoever may see all of them; one of no task, or of one
        that is not known any more, to admins.

        Args:
            after: 0 is all that is kept; negative, or beyond the last: only what comes from now on.
            wanted: which of them.
            sees: whether tasks of this owner exist, as far as the reader is told.
            is_admin: whether the reader is told of everything.
        """
        if after < 0 or after > self.last:
            return Told(events=[], next=self.last, missed=0, more=False)
        first = self.last - len(self._kept) + 1
        missed = max(0, first - after - 1)
        number = max(after, first - 1)
        told: list[Json] = []
        characters = 0
        for line in islice(self._kept, number + 1 - first, None):
            number += 1
            if not wanted.takes(line) or not _may_see(line, sees, is_admin=is_admin):
                continue
            told.append(_shown(number, line))
            characters += line.size
            if len(told) >= MOST_TOLD or characters >= MOST_TOLD_CHARACTERS:
                break
        return Told(events=told, next=number, missed=missed, more=number < self.last)


def _may_see(line: KeptLine, sees: Callable[[str], bool], *, is_admin: bool) -> bool:
    return is_admin or (bool(line.tasks) and all(sees(each.owner) for each in line.tasks))


def _shown(number: int, line: KeptLine) -> dict[str, Json]:
    if line.dropped:
        return {
            "number": number,
            "at": line.at,
            "kind": "dropped",
            "worker": line.worker,
            "count": line.dropped,
        }
    return {
        "number": number,
        "at": line.at,
        "kind": "line",
        "worker": line.worker,
        "level": next((name for least, name in _LEVELS if line.level >= least), ""),
        "tasks": [each.id for each in line.tasks],
        "text": line.text,
    }


def log_filter(arguments: Mapping[str, Json]) -> LogFilter:
    """Return what a reader asks for.

    Raises:
        ValueError: it makes no sense.
    """
    names = {key: arguments.get(key, "") for key in ("worker", "task")}
    for key, value in names.items():
        if not isinstance(value, str):
            raise ValueError(f"{key} = {value!r} is no name")  # noqa: TRY004 -- told to a client
    return LogFilter(**{key: str(value) for key, value in names.items()})
