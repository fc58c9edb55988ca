"""What an operator learns of tasks, and cancels."""

import json
import time
from pathlib import Path

import pytest
from tests.harness.operated_broker import OperatedBroker

from paintmq.wire.messages import Assign, AttemptStarted


def test_tasks_are_listed_and_chosen_by_state_queue_model_and_tenant(
    operated: OperatedBroker,
) -> None:
    plain = operated.submit(priority=3)
    of_acme = operated.submit(tenant="acme")

    def listed(*arguments: str) -> list[str]:
        status, said, _ = operated.command("tasks", *arguments)
        assert status == 0
        return [line.split()[0] for line in said.splitlines()[1:]]

    assert listed() == listed("--state", "queued") == [plain.id, of_acme.id]
    assert listed("--queue", "cpu-light", "--model", "toy", "--tenant", "acme") == [of_acme.id]
    as_json = json.loads(operated.command("tasks", "--json")[1])
    assert [task["priority"] for task in as_json["tasks"]] == [3, 0]
    assert operated.command("tasks", "--state", "running") == (0, "", "no such tasks\n")


def test_a_state_that_does_not_exist_is_refused_naming_those_that_do(
    operated: OperatedBroker,
) -> None:
    status, _, errors = operated.command("tasks", "--state", "waiting")

    assert status == 2
    assert "unknown state 'waiting'; known states: submitted, queued," in errors


def test_why_says_what_is_missing_and_what_would_help(operated: OperatedBroker) -> None:
    task = operated.submit(tenant="acme")

    status, said, _ = operated.command("why", task.id)

    assert status == 0
    lines = said.splitlines()
    assert lines[0].startswith(f"task {task.id}: queued, model toy, queue cpu-light, priority 0, ")
    assert ", tenant acme, accepted " in lines[0]
    assert lines[1:] == [
        "waiting for: a worker that runs toy on cpu: no worker is connected",
        "unblocked by: a worker that offers toy to connect",
        "position: 1 of 1 tasks of its model that the same workers can run",
        "router: PlainRouter",
    ]
    assert json.loads(operated.command("why", task.id, "--json")[1])["task"]["tenant"] == "acme"


def test_why_names_who_is_busy_and_until_when(operated: OperatedBroker) -> None:
    worker = operated.start_worker()
    operated.submit()
    worker.hear(Assign)
    waiting = operated.submit()

    said = operated.command("why", waiting.id)[1]

    assert "waiting for: a worker to become free" in said
    assert "unblocked by: node/cpu-0 becoming free, in about " in said
    assert "  node/cpu-0 busy: is busy with toy, free in " in said


def test_why_tells_how_the_attempt_before_ended(operated: OperatedBroker) -> None:
    worker = operated.start_worker()
    task = operated.submit()
    operated.fail(worker)

    said = operated.command("why", task.id)[1]

    assert "worker node/cpu-0, attempt 1\nlast attempt: boom\n" in said
    assert "waiting for: its next attempt, in " in said


@pytest.mark.slow
def test_why_says_of_a_running_task_that_its_worker_is_out_of_reach(
    operated: OperatedBroker,
) -> None:
    worker = operated.start_worker()
    operated.submit()
    operated.fail(worker)
    (item,) = worker.hear(Assign).assignments
    worker.say(AttemptStarted(task_id=item.task.id, fence=item.fence))
    until = time.monotonic() + 30.0
    while "running" not in (said := operated.command("why", item.task.id)[1]):
        assert time.monotonic() < until, said
    assert "last attempt: boom" in said
    assert "not connected" not in said

    worker.close()
    while "its worker is not connected" not in (said := operated.command("why", item.task.id)[1]):
        assert time.monotonic() < until, said

    assert "; if it does not come back within " in said


def test_why_tells_the_reason_of_an_ending(operated: OperatedBroker) -> None:
    worker = operated.start_worker()
    task = operated.submit()
    operated.kill_with(worker)

    said = operated.command("why", task.id)[1]

    assert said.splitlines()[2:] == ["reason: its worker process died: killed by SIGSEGV"]


def test_scores_of_the_router_are_shown_term_by_term(operated: OperatedBroker) -> None:
    from paintmq.cli.task_commands import _print_explanation

    verdict = {
        "worker": "node/cpu-0",
        "verdict": "avoided",
        "reason": "loading takes longer",
        "free_in": 0.0,
        "terms": {"load_seconds": 12.345, "waits": "warm copy"},
    }
    _print_explanation(
        {
            "waiting_for": "",
            "unblocked_by": "a",
            "position": 1,
            "backlog": 2,
            "router": "R",
            "workers": [verdict],
        }
    )

    said = operated.command("tasks", "--json")[1]
    assert "waiting for: nothing: it is about to start\n" in said
    assert "  node/cpu-0 avoided: loading takes longer\n    load seconds 12.3\n" in said
    assert "    waits warm copy\n" in said


def test_a_cancel_says_what_came_of_it(operated: OperatedBroker) -> None:
    task = operated.submit()

    assert operated.command("cancel", task.id)[:2] == (0, f"{task.id}: cancelled\n")
    worker = operated.start_worker()
    done = operated.submit()
    operated.kill_with(worker)
    assert operated.command("cancel", done.id)[:2] == (1, f"{done.id}: had already ended\n")
    status, _, errors = operated.command("cancel", "0" * 32)
    assert status == 2
    assert "the broker knows no such task" in errors


def test_several_tasks_are_cancelled_at_once_whatever_becomes_of_one(
    operated: OperatedBroker,
) -> None:
    first, second = operated.submit(), operated.submit()
    unknown = "0" * 32

    status, said, errors = operated.command("cancel", first.id, unknown, second.id)

    assert status == 2
    assert said.splitlines() == [f"{first.id}: cancelled", f"{second.id}: cancelled"]
    assert errors == f"error: {unknown}: the broker knows no such task\n"


def test_a_running_task_is_listed_with_its_worker(operated: OperatedBroker) -> None:
    worker = operated.start_worker("node/cpu-3")
    task = operated.submit()
    (item,) = worker.hear(Assign).assignments
    worker.say(AttemptStarted(task_id=item.task.id, fence=item.fence))

    said = operated.command("tasks", "--state", "running")[1]
    while task.id not in said:  # the start is on its way
        said = operated.command("tasks", "--state", "running")[1]

    assert said.split()[-1] == "node/cpu-3"


def test_a_story_is_told_by_the_broker_and_read_from_its_journal(
    durable: OperatedBroker, tmp_path: Path
) -> None:
    worker = durable.start_worker()
    task, other = durable.submit(), durable.submit()
    durable.kill_with(worker)

    status, said, _ = durable.command("why", task.id, "--story")

    assert status == 0
    lines = said.splitlines()
    assert [line[25:39].strip() for line in lines] == ["accepted", "leased", "dead"]
    assert lines[0].endswith("queue cpu-light, model toy, priority 0")
    assert "node/cpu-0, attempt 1 of " in lines[1]
    assert "its worker process died" in lines[2]
    assert other.id not in said
    told = json.loads(durable.command("why", task.id, "--story", "--json")[1])
    from_journal = durable.command("why", task.id, "--story", "--json", "--journal", "journal")
    assert json.loads(from_journal[1]) == told
    assert durable.command("why", task.id, "--story", "--journal", "journal")[1] == said


def test_a_broker_without_a_log_says_so_when_it_is_asked_for_a_story(
    operated: OperatedBroker,
) -> None:
    task = operated.submit()

    status, _, errors = operated.command("why", task.id, "--story")

    assert status != 0
    assert "keeps its journal in memory (broker.durability)" in errors


def test_a_story_of_a_task_that_is_not_known_is_an_error(
    durable: OperatedBroker, tmp_path: Path
) -> None:
    nobody = "0" * 32

    assert "its retention time is over" in durable.command("why", nobody, "--story")[2]
    of_journal = durable.command("why", nobody, "--story", "--journal", "journal")
    assert "the log holds nothing of task" in of_journal[2]
    assert "--journal is read for a story" in durable.command("why", nobody, "--journal", ".")[2]
    assert "is no journal" in durable.command("why", nobody, "--story", "--journal", ".")[2]
