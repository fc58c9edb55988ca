"""What the models of a worker print and log: to the node's log at once, to the broker in a while.

Rule 1: bounded. A model that prints without end fills no log and no memory: what is too much is
dropped, counted, and a line says how much it was.
Rule 2: what a line is not certainly of, it is not said to be of: others may read it.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from math import inf

from attrs import define, field

from paintmq.task import TaskId
from paintmq.wire.messages import LogLine, ModelLogged
from paintmq.worker.channel.marked_output import OutputLine
from paintmq.worker.machine.batches import HandedOver

BURST, LINES_A_SECOND = 2_000, 200.0
"""Lines that a worker may write at once, and for long."""
MOST_WAITING = 2_000
"""Lines that wait for the broker; the oldest go first."""
PAUSE = 0.2
"""Seconds between two messages to the broker."""
LINES, TEXT = 200, 24_000
"""Most of one message: lines, and bytes of them."""

model_output = logging.getLogger("paintmq.worker")
"""What models print and log, by worker, line by line."""


@define
class _Waiting:
    at: float
    line: LogLine


@define(eq=False)
class ModelLog:
    """The lines of one worker. All methods belong to the thread of its node's loop."""

    worker: str
    dropped: int = field(default=0, init=False)
    """Lines that were dropped since the start."""
    _waiting: deque[_Waiting] = field(factory=deque[_Waiting], init=False)
    _unsaid: int = field(default=0, init=False)
    """Lines dropped that the broker was not told of."""
    _unlogged: int = field(default=0, init=False)
    """Lines dropped that the node's log does not tell of."""
    _room: float = field(default=BURST, init=False)
    _refilled_at: float = field(default=-inf, init=False)
    _is_heard: bool = field(default=False, init=False)
    """Whether the broker wants to hear of it."""
    _send_at: float = field(default=-inf, init=False)

    def welcomed(self, *, observes: bool) -> None:
        """Note whether the present broker takes lines; one of an older version does not."""
        self._is_heard = observes

    def heard(
        self, lines: Iterable[OutputLine], running: Sequence[HandedOver], *, now: float
    ) -> None:
        """Take in what a host has written. ``running``: what it was given and has not ended."""
        self._refill(now)
        for line in lines:
            if self._room < 1:
                self.dropped += 1
                self._unsaid += 1
                self._unlogged += 1
                continue
            self._room -= 1
            self._tell_of_dropped()
            tasks = _possible(running) if line.tasks is None else line.tasks
            self._log(line, tasks)
            ids = tuple(map(TaskId, tasks))
            self._keep(_Waiting(now, LogLine(text=line.text, level=line.level, tasks=ids)))

    def next_deadline(self) -> float:
        """Return when ``pop`` is next worth calling."""
        if not self._is_heard or not (self._waiting or self._unsaid):
            return inf
        return self._send_at

    def pop(self, *, now: float) -> ModelLogged | None:
        """Return what to tell the broker now; None: nothing."""
        if self.next_deadline() > now:
            return None
        self._send_at = now + PAUSE
        lines, room = list[LogLine](), TEXT
        while self._waiting and len(lines) < LINES and room > 0:
            each = self._waiting.popleft()
            lines.append(
                LogLine(
                    text=each.line.text,
                    level=each.line.level,
                    tasks=each.line.tasks,
                    age=max(0.0, now - each.at),
                )
            )
            room -= len(each.line.text.encode()) + 36 * len(each.line.tasks) + 50
        dropped, self._unsaid = self._unsaid, 0
        return ModelLogged(lines=tuple(lines), dropped=dropped)

    def _refill(self, now: float) -> None:
        passed = 0.0 if self._refilled_at == -inf else max(0.0, now - self._refilled_at)
        self._room = min(BURST, self._room + LINES_A_SECOND * passed)
        self._refilled_at = now

    def _keep(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._unsaid += 1

    def _log(self, line: OutputLine, tasks: Sequence[str]) -> None:
        known = {"worker": self.worker, "task_id": tasks[0] if len(tasks) == 1 else None}
        if len(tasks) > 1:
            known["task_ids"] = list(tasks)  # type: ignore[assignment]  # what is known of it
        level = line.level or logging.INFO
        model_output.log(level, "%s: %s", self.worker, line.text, extra=known)

    def _tell_of_dropped(self) -> None:
        if self._unlogged:
            model_output.warning(
                "%s: %d lines were dropped: models print more than %d lines a second",
                self.worker,
                self._unlogged,
                LINES_A_SECOND,
            )
            self._unlogged = 0


def _possible(running: Sequence[HandedOver]) -> tuple[str, ...]:
    """Return the tasks of which one has written this; none if one is not known any more."""
    if any(len(batch.keys) < batch.size for batch in running):
        return ()  # one that was cancelled may still be running
    return tuple(task for batch in running for task, _ in batch.keys)
