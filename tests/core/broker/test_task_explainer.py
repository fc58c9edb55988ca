"""What a waiting task waits for, in words."""

from paintmq.task import TaskId
from paintmq.testing.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
)


def test_it_says_what_a_task_waits_for() -> None:
    scheduler = make_scheduler()
    scheduler.add(make_task(1, "sized", pixels=5_000_000), now=0.0)
    task_id = TaskId(f"{1:032x}")
    assert scheduler.waiting_for(task_id, now=0.0).endswith("no worker is connected")

    join(scheduler, make_worker("small"))
    assert "small needs 5000 MB memory, has 1000" in scheduler.waiting_for(task_id, now=0.0)
    explanation = scheduler.explain(task_id, now=0.0)
    assert explanation.unblocked_by == "a larger worker to connect"
    assert [verdict.verdict for verdict in explanation.workers] == ["unfit"]

    join(scheduler, make_worker("large", memory_mb=8_000))
    assert scheduler.waiting_for(task_id, now=0.0) == ""
    assert [item.verdict for item in scheduler.explain(task_id, now=0.0).workers] == [
        "idle",
        "unfit",
    ]
