"""What an operator can do about dead tasks."""

import json
import re

from tests.harness.operated_broker import OperatedBroker


def dead_tasks(operated: OperatedBroker, count: int) -> list[str]:
    """Let that many tasks die, and return their ids in the order of their deaths."""
    worker = operated.start_worker()
    ids: list[str] = []
    for _ in range(count):
        ids.append(operated.submit().id)
        operated.kill_with(worker)
    return ids


def test_a_listing_says_when_and_of_what_each_task_died(operated: OperatedBroker) -> None:
    ids = dead_tasks(operated, 2)

    status, said, _ = operated.command("dead", "list")

    assert status == 0
    assert [line.split()[0] for line in said.splitlines()[1:]] == ids
    assert re.search(r"toy +1 +\d+\.\d s ago +its worker process died: killed by SIGSEGV", said)
    as_json = json.loads(operated.command("dead", "list", "--json")[1])
    assert [task["id"] for task in as_json["tasks"]] == ids


def test_where_nothing_died_that_is_said(operated: OperatedBroker) -> None:
    assert operated.command("dead", "list") == (0, "", "no dead tasks\n")
    assert operated.command("dead", "drop", "--all") == (0, "", "no dead tasks\n")
    nothing = operated.command("dead", "requeue", "--all", "--model", "toy")
    assert nothing == (0, "", "no dead tasks of model toy\n")


def test_showing_a_task_tells_worker_time_error_and_traceback_of_each_attempt(
    operated: OperatedBroker,
) -> None:
    worker = operated.start_worker("node/gpu-7")
    task = operated.submit(max_attempts=1, options={})
    operated.fail(worker)

    status, said, _ = operated.command("dead", "show", task.id)

    assert status == 0
    assert f"task     {task.id}, dead\n" in said
    assert re.search(
        r"attempt 1 on node/gpu-7, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: failed after \d+\.\d\d s", said
    )
    assert "  boom\n  Traceback\n    line 1\n" in said
    shown = json.loads(operated.command("dead", "show", task.id, "--json")[1])
    assert shown["history"][0]["worker"] == "node/gpu-7"


def test_all_dead_tasks_are_requeued_at_once(operated: OperatedBroker) -> None:
    ids = dead_tasks(operated, 3)

    status, said, errors = operated.command("dead", "requeue", "--all")

    assert (status, errors) == (0, "")
    assert said.splitlines() == [f"{task_id}: waits in cpu-light" for task_id in ids]
    assert operated.command("dead", "list")[2] == "no dead tasks\n"


def test_only_the_tasks_of_a_model_are_dropped_if_that_is_said(operated: OperatedBroker) -> None:
    (dead,) = dead_tasks(operated, 1)

    assert operated.command("dead", "drop", "--all", "--model", "picture")[1] == ""
    assert operated.command("dead", "drop", "--all", "--model", "toy")[1] == f"{dead}: dropped\n"


def test_one_that_is_refused_does_not_stand_in_the_others_way(operated: OperatedBroker) -> None:
    first, second = dead_tasks(operated, 2)
    unknown, other = "0" * 32, "1" * 32

    status, said, errors = operated.command("dead", "drop", first, unknown, other, second)

    assert status == 2
    assert said.splitlines() == [f"{first}: dropped", f"{second}: dropped"]
    assert [task_id for task_id in (unknown, other) if f"no task '{task_id}'" in errors] == [
        unknown,
        other,
    ]


def test_neither_tasks_nor_all_is_a_mistake(operated: OperatedBroker) -> None:
    for arguments in ((), ("--model", "toy"), ("0" * 32, "--all")):
        status, _, errors = operated.command("dead", "requeue", *arguments)

        assert status == 2
        assert "name the tasks, or say --all" in errors


def test_what_is_no_task_id_is_said(operated: OperatedBroker) -> None:
    status, _, errors = operated.command("dead", "drop", "seven")

    assert status == 2
    assert "seven: no task id" in errors
