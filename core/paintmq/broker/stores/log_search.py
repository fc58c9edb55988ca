"""Reads the log for the stories of tasks, a part at a time between the writer's commits."""

from collections import deque
from collections.abc import Sequence

from attrs import define, field

from paintmq.broker.stores.database import Database
from paintmq.broker.stores.story import LogRow, StoryLine, tell
from paintmq.task import TaskId

ROWS_A_PART = 10_000
"""Rows read at once: some 10 milliseconds, for which a commit may have to wait."""
MOST_STORIES = 16
"""Stories read or kept; of more, the oldest are dropped, and whoever asks again waits longer."""


@define
class _Search:
    next_row: int
    last_row: int
    found: list[LogRow] = field(factory=list[LogRow], init=False)


@define
class LogSearch:
    """Stories that were asked for.

    Not thread-safe: the writer's lock guards ``ask``, ``wanted`` and ``give``; ``read_part`` uses
    the database, so it is the writer thread's.
    """

    _wanted: deque[TaskId] = field(factory=deque[TaskId], init=False)
    _told: dict[TaskId, Sequence[StoryLine]] = field(
        factory=dict[TaskId, Sequence[StoryLine]], init=False
    )
    _search: _Search | None = field(default=None, init=False)
    """Of the first that is wanted."""

    def ask(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        """Return a story that has been read; else None, and have it read."""
        if (story := self._told.pop(task_id, None)) is not None:
            return story
        if task_id not in self._wanted and len(self._wanted) < MOST_STORIES:
            self._wanted.append(task_id)
        return None

    @property
    def wanted(self) -> TaskId | None:
        """The task whose story is to be read next."""
        return self._wanted[0] if self._wanted else None

    def give(self, task_id: TaskId, story: Sequence[StoryLine]) -> None:
        """Keep a story until it is asked for again."""
        self._wanted.remove(task_id)
        self._told[task_id] = story
        if len(self._told) > MOST_STORIES:
            del self._told[next(iter(self._told))]

    def read_part(self, database: Database, task_id: TaskId) -> Sequence[StoryLine] | None:
        """Read the next part of the log for this task; return its story after the last one."""
        search = self._search
        if search is None:
            changes = database.changes_of(task_id)
            if changes is None:
                return ()
            search = self._search = _Search(*changes)
        first, last = search.next_row, min(search.next_row + ROWS_A_PART - 1, search.last_row)
        search.found += database.log_of(task_id, first, last)
        search.next_row = last + 1
        if last < search.last_row:
            return None
        self._search = None
        return tell(task_id, search.found)
