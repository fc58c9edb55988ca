"""A broker at one glance."""

import json

import pytest
from tests.harness.operated_broker import OperatedBroker

from paintmq.cli.status_command import duration
from paintmq.wire.messages import Assign, AttemptRecorded, AttemptReturned, Draining


def test_queues_and_workers_are_shown_with_their_counts(
    operated: OperatedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    worker = operated.start_worker()
    running = operated.submit()
    worker.hear(Assign)
    operated.submit()

    status, said, _ = operated.command("status")

    assert status == 0
    heading = next(line for line in said.splitlines() if line.startswith("queue"))
    assert heading.split() == [
        *("queue", "port", "workers", "waiting", "running", "done", "failed", "dead", "refused"),
        "oldest",
    ]
    row = next(line.split() for line in said.splitlines() if line.startswith("cpu-light"))
    assert row[2:9] == ["1", "1", "1", "0", "0", "0", "0"]
    assert f"node/cpu-0 cpu-light cpu - {running.id}" in " ".join(said.split())
    assert "2 tasks accepted, 0 refused" in " ".join(said.split())


def test_without_workers_it_says_how_to_get_some(operated: OperatedBroker) -> None:
    assert "none connected; start some with `paintmq node`" in operated.command("status")[1]


def test_a_worker_in_trouble_is_shown_with_what_is_wrong(
    operated: OperatedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    worker = operated.start_worker()
    task = operated.submit()
    (item,) = worker.hear(Assign).assignments
    worker.say(Draining("its model host does not start: [lib]\nfirst line\n[lib]"))
    worker.say(AttemptReturned(task_id=task.id, fence=item.fence, cancelled=False))
    worker.hear(AttemptRecorded)

    shown = operated.command("status")[1].splitlines()

    (row,) = [line for line in shown if line.startswith("node/cpu-0 ") and "trouble" in line]
    assert row.split() == ["node/cpu-0", "cpu-light", "cpu", "-", "in", "trouble"]
    place = shown.index("node/cpu-0 can run nothing now: its model host does not start: [lib]")
    assert shown[place + 1 : place + 3] == ["    first line", "    [lib]"]
    why = operated.command("why", task.id)[1]
    assert (
        "node/cpu-0 unfit: can run nothing now: its model host does not start: [lib]\n    f" in why
    )
    assert "unblocked by: node/cpu-0 working again, or another worker to connect" in why


def test_programs_are_given_json(operated: OperatedBroker) -> None:
    operated.start_worker()

    known = json.loads(operated.command("status", "--json")[1])

    assert [worker["name"] for worker in known["workers"]] == ["node/cpu-0"]
    assert known["statistics"]["queues"]["cpu-light"]["workers"] == 1


def test_the_router_in_use_is_named_with_all_its_parameters(
    operated: OperatedBroker,
) -> None:
    (before,) = router_lines(operated)
    operated.use_router("tunable", patience=3.0)
    (after,) = router_lines(operated)
    known = json.loads(operated.command("status", "--json")[1])

    assert before == "router: plain"
    assert after == 'router: tunable (patience = 3.0, mode = "calm")'
    assert known["router"] == {"name": "tunable", "parameters": {"patience": 3.0, "mode": "calm"}}


def router_lines(operated: OperatedBroker) -> list[str]:
    said = operated.command("status")[1]
    return [line for line in said.splitlines() if line.startswith("router")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7.25, "7.2 s"),
        (61.0, "1 min 1 s"),
        (3 * 3600 + 120, "3 h 2 min"),
        (2 * 86_400 + 3 * 3600, "2 d 3 h"),
    ],
)
def test_a_length_of_time_is_told_in_the_units_that_say_something(
    seconds: float, text: str
) -> None:
    assert duration(seconds) == text
