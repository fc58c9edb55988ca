"""What the gateway holds of tasks: nothing that was fetched, nothing old, and never much."""

from typing import Any, cast

import pytest

pytest.importorskip("starlette", reason="needs paintmq[http]")

from paintmq.client.result import Progress
from paintmq.gateway import followed as followed_module
from paintmq.gateway.followed import FollowedTasks
from paintmq.task import TaskState


class EndedHandle:
    """A task that has succeeded, with a result of some bytes."""

    error = None

    def __init__(self, task_id: str, size: int = 10) -> None:
        self.id, self.result_bytes = task_id, size

    def done(self) -> bool:
        return True

    def progress(self) -> Progress:
        return Progress(state=TaskState.SUCCEEDED)

    def add_done_callback(self, callback: Any) -> None:
        callback(self)


def add(tasks: FollowedTasks, task_id: str, size: int = 10) -> None:
    tasks.add(cast("Any", EndedHandle(task_id, size)))


def test_two_thousand_fetched_results_leave_no_result_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(followed_module, "MAX_ENDED", 100)
    tasks = FollowedTasks()
    for number in range(2_000):
        add(tasks, str(number), 1_000_000)
        tasks.drop(str(number))

        assert (tasks.result_bytes, len(tasks._handles), len(tasks._ended_at)) == (0, 0, 0)
    assert len(tasks._ended) == 100, "how they ended is remembered of the latest"


def test_results_that_nobody_fetches_are_let_go_of_after_minutes() -> None:
    now = [0.0]
    tasks = FollowedTasks(clock=lambda: now[0])
    add(tasks, "old")
    now[0] += followed_module.MAX_SECONDS - 1
    add(tasks, "new")
    tasks.sweep()
    assert tasks.get("old") is not None

    now[0] += 1
    tasks.sweep()

    assert tasks.get("old") is None
    assert tasks.ending("old") is not None, "how it ended is still known"
    assert tasks.get("new") is not None
