"""What Redis is to hold, made from events: bounded, and never more certain than what was told."""

from typing import Any

import pytest

from paintmq.statistics import BrokerStatistics, QueueStatistics
from paintmq_plugins.redis import MISSING, read_settings
from paintmq_plugins.redis.mirror import MOST_ENDED, Mirror


def event(word: str, state: str, task: str = "a", **more: Any) -> dict[str, Any]:
    told = {"event": word, "what": state, "kind": "task", "task_id": task, "state": state}
    return {"queue": "cpu", "model": "toy", "attempt": 1, "at": 5.0, "error": "", **told, **more}


def mirror(*events: dict[str, Any], **settings: Any) -> Mirror:
    made = Mirror(ttl=100.0, **settings)
    made.events([{"event": "boot", "incarnation": 7, "at": 1.0}, *events], 0.0)
    return made


def take(of: Mirror, most: int = 1000, now: float = 0.0) -> Any:
    return of.take(most, now)


def test_a_task_is_written_once_however_often_it_changed() -> None:
    made = mirror(event("accept", "queued"), event("lease", "leased"), event("start", "running"))

    changes = take(made)

    ((task, (fields, kept)),) = changes.tasks.items()
    assert (task, fields["state"], fields["boot"], kept) == ("a", "running", "7", 100.0)
    assert changes.queues == {"cpu": {"waiting": "0", "running": "1"}}
    assert [entry["event"] for entry in changes.entries] == ["boot", "accept", "lease", "start"]
    assert changes.is_all
    assert not made.is_due


def test_queues_count_tasks_wherever_they_stand_and_move() -> None:
    made = mirror(
        event("accept", "queued"),
        event("accept", "queued", "b"),
        event("lease", "leased", "b"),
        event("move", "queued", queue="gpu"),
        event("finish", "succeeded", "b", ended_at=6.0),
    )

    queues = take(made).queues

    assert queues["cpu"] == {"waiting": "0", "running": "0"}
    assert queues["gpu"] == {"waiting": "1", "running": "0"}


def test_progress_belongs_to_one_attempt_and_to_running_tasks() -> None:
    made = mirror(event("start", "running"))
    step = {"event": "progress", "task_id": "a", "attempt": 1, "step": 3, "total": 9, "at": 6.0}
    made.progress([step, {**step, "task_id": "unknown"}])
    fields = take(made).tasks["a"][0]
    assert (fields["step"], fields["total"], fields["updated_at"]) == ("3", "9", "6.0")

    made.events([event("lease", "leased", attempt=2)], 0.0)
    fields = take(made).tasks["a"][0]
    assert (fields["step"], fields["total"]) == ("0", "0")


def test_what_a_slow_observer_missed_makes_unfinished_tasks_uncertain_until_they_are_heard_of() -> (
    None
):
    made = mirror(event("accept", "queued"), event("accept", "queued", "b"))
    made.events([{"event": "dropped", "count": 3}, event("lease", "leased", "b")], 0.0)

    changes = take(made)

    assert {task: each[0]["uncertain"] for task, each in changes.tasks.items()} == {
        "a": "1",
        "b": "0",
    }
    assert changes.entries[0] == {"event": "dropped", "count": "3"}


def test_of_too_many_events_the_oldest_are_dropped_and_told() -> None:
    made = mirror(*(event("accept", "queued", str(number)) for number in range(9)), most_entries=4)
    entries = take(made).entries
    assert [each.get("task_id") for each in entries] == [None, "5", "6", "7", "8"]
    assert entries[0] == {"event": "dropped", "count": "6"}

    made.put_back(entries)
    made.events([event("accept", "queued", "last")], 0.0)
    assert take(made).entries[-1]["task_id"] == "last"
    assert made.dropped == 8


def test_of_too_many_unfinished_tasks_the_oldest_are_followed_no_more() -> None:
    made = mirror(*(event("accept", "queued", str(number)) for number in range(9)), most_live=4)

    changes = take(made)

    assert list(changes.tasks) == ["5", "6", "7", "8"]
    assert changes.queues["cpu"]["waiting"] == "4"
    assert made.untracked == 5


def test_ended_tasks_are_kept_for_their_time_and_in_bounded_number() -> None:
    over = [
        event("finish", "failed", str(number), ended_at=5.0) for number in range(MOST_ENDED + 1)
    ]
    made = mirror(*over)
    assert len(made.ended) == MOST_ENDED
    assert made.take(1, 60.0).tasks["1"][1] == 40.0, "it is written for what is left of its time"

    made.take(1, 100.0)
    assert not made.ended


def test_after_a_restart_what_the_journal_holds_counts_and_nothing_else() -> None:
    made = mirror(event("accept", "queued"), event("accept", "queued", "gone"))
    ended = event("restored", "succeeded", "c", at=50.0, ended_at=20.0)
    boot = {"event": "boot", "incarnation": 8, "at": 49.0}
    made.events([boot, event("restored", "queued", at=50.0), ended], 0.0)

    changes = take(made)

    assert {task: each[1] for task, each in changes.tasks.items()} == {"a": 100.0, "c": 70.0}
    assert changes.tasks["a"][0]["boot"] == "8"
    assert changes.queues["cpu"] == {"waiting": "1", "running": "0"}


def test_all_is_written_again_in_portions() -> None:
    made = mirror(*(event("accept", "queued", str(number)) for number in range(5)))
    take(made)
    made.write_all_again()

    assert [len(take(made, 2).tasks) for _ in range(4)] == [2, 2, 1, 0]


def test_a_queue_shows_the_last_sample_until_it_is_removed() -> None:
    made = mirror(event("accept", "queued"))
    made.sample(BrokerStatistics(queues={"cpu": QueueStatistics(name="cpu", port=1, succeeded=4)}))
    queue = take(made).queues["cpu"]
    assert (queue["waiting"], queue["succeeded"], queue["wait_p50"]) == ("1", "4", "0.0")

    made.sample(BrokerStatistics())
    made.keep_live()
    assert take(made).queues["cpu"] == {"waiting": "1", "running": "0"}


def test_events_without_numbers_are_understood_too() -> None:
    """As they are with ``monitoring.enabled = false``."""
    accepted = {"event": "accept", "task_id": "a", "queue": "cpu", "model": "toy", "at": 5.0}
    made = mirror(accepted)

    assert take(made).tasks["a"][0]["state"] == "queued"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"urls": "x"}, "'urls' is no setting"),
        ({"url": 3}, "url must be of type str"),
        ({"prefix": "x:"}, "url is missing"),
        ({"url": "redis://:hush@host"}, "url holds a password"),
        ({"url": "http://host"}, "must begin with redis://"),
        ({"url": "redis://host", "ttl": 5}, "ttl = 5 must be at least 60"),
        ({"url": "redis://host", "ttl": True}, "ttl must be of type int"),
        ({"url": "redis://host", "stream_length": 5}, "at least 100"),
        ({"url": "redis://host", "prefix": "a b"}, "without blank space"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_no_password_is_shown(
    table: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        read_settings(table)

    assert "hush" not in str(raised.value)


def test_what_to_install_is_said_where_the_library_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paintmq_plugins.redis.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install") as raised:
        read_settings({"url": "redis://host"})
    assert str(raised.value) == MISSING
    assert read_settings({}).url == ""
