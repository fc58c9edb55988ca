"""The story of a task: what its log holds of it, in order and in plain words."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.harness.broker_harness import W1, W2, BrokerHarness, beat, crash, fail, ready, restarted

from paintmq.broker.records import Record, TaskChanged
from paintmq.broker.stores import log_search
from paintmq.broker.stores.database import DATABASE_NAME
from paintmq.broker.stores.log_reader import read_story
from paintmq.broker.stores.log_search import MOST_STORIES, LogSearch
from paintmq.broker.stores.rows import checksum, encode_record
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.broker.stores.store import Entry
from paintmq.broker.stores.story import LogRow, StoryLine, read_row, tell
from paintmq.config import Limits
from paintmq.task import TaskId, TaskState
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import ResultReceived

EPOCH = 1_000_000.0


def story_of(broker: BrokerHarness, task_id: TaskId) -> list[StoryLine]:
    rows = [
        LogRow(sequence=number, at=EPOCH + number, record=record)
        for number, record in enumerate(broker.records)
    ]
    return tell(task_id, rows)


def test_a_story_names_each_attempt_its_worker_its_fence_and_why_it_ended() -> None:
    broker = ready()
    task = broker.submit()
    broker.submit(make_request("2"))
    broker.start(broker.assigned()[0])
    crash(broker, broker.assigned()[0])
    broker.join(W2)
    broker.let_pass(5.0)
    (item,) = [item for item in broker.assigned(W2) if item.task.id == task.id]
    broker.start(item, W2)
    broker.succeed(item, W2)
    broker.receive(b"client-alice", ResultReceived(task.id))  # type: ignore[arg-type]

    story = story_of(broker, task.id)

    assert [(line.event, line.worker, line.attempt) for line in story] == [
        ("accepted", "", 0),
        ("leased", "node/cpu-0", 1),
        ("running", "node/cpu-0", 1),
        ("queued again", "node/cpu-0", 1),
        ("leased", "node/cpu-1", 2),
        ("running", "node/cpu-1", 2),
        ("succeeded", "node/cpu-1", 2),
        ("acknowledged", "", 0),
    ]
    assert story[0].reason == "queue cpu-light, model toy, priority 0"
    assert story[3].reason.startswith("crashed: its worker process died: killed by SIGKILL")
    assert {line.incarnation for line in story if line.attempt} == {7}


def test_a_story_tells_of_restarts_only_while_the_task_is_under_way() -> None:
    broker = ready()
    task = broker.submit()
    fail(broker, broker.assigned()[0], retryable=False)
    other = broker.submit(make_request("2"))
    again = restarted(broker)
    broker.records += again.records

    assert [line.event for line in story_of(broker, task.id)] == ["accepted", "leased", "failed"]
    lines = story_of(broker, other.id)
    assert [line.event for line in lines] == ["accepted", "leased", "broker started"]
    assert lines[-1].reason == f"incarnation {8:016x}"


def test_a_story_has_dead_letters_and_what_an_operator_did_about_them() -> None:
    broker = ready(limits=Limits(crashes=1))
    task = broker.submit()
    crash(broker, broker.assigned()[0])
    broker.ask("dead_requeue", task_id=task.id)
    crash(broker, broker.assigned()[1])
    broker.ask("dead_drop", task_id=task.id)

    story = story_of(broker, task.id)

    events = ["accepted", "leased", "dead", "revived", "leased", "dead", "purged"]
    assert [line.event for line in story] == events
    assert "killed by SIGKILL" in story[2].reason
    assert story[3].reason == "requeued by an operator"


def test_a_story_says_for_how_long_a_task_is_held_back_and_when_it_is_forgiven() -> None:
    broker = ready()
    broker.submit()
    broker.join(W2)
    task = broker.submit(make_request("2"))
    broker.start(broker.assigned(W2)[0], W2)
    fail(broker, broker.assigned(W2)[0], retryable=True, worker=W2)
    for _ in range(14):
        broker.let_pass(5.0)
        beat(broker, *broker.assigned(W1))
        beat(broker, worker=W2)
    waits = broker.status(task).changed(state=TaskState.QUEUED, not_before=EPOCH + 9.0)
    held_back = LogRow(sequence=1, at=EPOCH, record=TaskChanged(task.id, "requeue", waits))

    events = [line.event for line in story_of(broker, task.id)]
    assert events[:4] == ["accepted", "leased", "running", "queued again"]
    assert "forgiven" in events
    (line,) = tell(task.id, [held_back])
    assert line.reason == "failed: boom, tried again after 9.0 s"


def test_a_line_of_a_story_shows_time_event_worker_fence_and_reason() -> None:
    line = StoryLine(
        at=1_700_000_000.25,
        event="queued again",
        worker="node/cpu-0",
        incarnation=255,
        attempt=2,
        reason="lost: its worker fell silent",
    )

    assert str(line) == (
        "2023-11-14 22:13:20.250  queued again   node/cpu-0, attempt 2 of 00000000000000ff, "
        "lost: its worker fell silent"
    )
    assert str(StoryLine(at=0.0, event="purged")) == "1970-01-01 00:00:00.000  purged"


def test_a_row_that_the_disk_changed_or_that_is_no_record_is_left_out() -> None:
    record = encode_record(ready().records[0]) if ready().records else b"{}"
    check = checksum(b"1", repr(2.0).encode(), record)

    assert read_row(1, 2.0, record, b"changed!") is None
    assert read_row(1, 2.0, record, check) is None


# ---- on a disk ---------------------------------------------------------------------------------


def written(path: Path, records: Sequence[Record]) -> tuple[SqliteStore, threading.Event]:
    """Return an open store that holds the records, and what is set when it has news."""
    news = threading.Event()
    store = SqliteStore(path, durability="process")
    store.open(news.set)
    for number, record in enumerate(records):
        store.append(Entry(number + 1, EPOCH + number, record))
    return store, news


def told(store: SqliteStore, news: threading.Event, task_id: TaskId) -> Sequence[StoryLine]:
    """Ask for a story until it has been read."""
    while True:
        news.clear()
        if (story := store.story(task_id)) is not None:
            return story
        assert news.wait(20.0)


def finished_tasks(count: int) -> BrokerHarness:
    broker = ready()
    for number in range(count):
        broker.submit(make_request(str(number + 1)))
        broker.succeed(broker.assigned()[-1])
    return broker


def test_a_story_is_read_in_parts_while_the_store_is_written(tmp_path: Path) -> None:
    broker = finished_tasks(20)
    first = next(iter(broker.machine.stored()))
    broker.receive(b"client-alice", ResultReceived(first))  # type: ignore[arg-type]
    store, news = written(tmp_path, broker.records)
    parts = log_search.ROWS_A_PART
    log_search.ROWS_A_PART = 7
    try:
        while store.collect().durable_sequence < len(broker.records):
            assert news.wait(20.0)
            news.clear()
        story = told(store, news, first)
        unknown = told(store, news, TaskId("f" * 32))
    finally:
        log_search.ROWS_A_PART = parts
        store.close()

    assert list(story) == story_of(broker, first)
    assert [line.event for line in story] == ["accepted", "leased", "succeeded", "acknowledged"]
    assert list(unknown) == []
    assert read_story(tmp_path, first) == list(story)


def test_a_row_of_the_log_that_was_damaged_is_missing_in_the_story(tmp_path: Path) -> None:
    broker = finished_tasks(1)
    (task_id,) = broker.machine.stored()
    store, _ = written(tmp_path, broker.records)
    store.close()
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as database:
        database.execute("UPDATE log SET at = at + 1 WHERE sequence = 2")
        database.commit()

    events = [line.event for line in read_story(tmp_path, task_id)]
    assert events == ["accepted", "succeeded"]


def test_stories_that_are_not_fetched_are_bounded() -> None:
    """I14."""
    search = LogSearch()
    ids = [TaskId(f"{number:032x}") for number in range(MOST_STORIES + 5)]
    for task_id in ids:
        assert search.ask(task_id) is None
    wanted = []
    while (first := search.wanted) is not None:
        wanted.append(first)
        search.give(first, ())
    for task_id in ids[MOST_STORIES:]:
        search.ask(task_id)
        search.give(task_id, ())

    assert wanted == ids[:MOST_STORIES]
    assert sum(search.ask(task_id) is not None for task_id in ids) == MOST_STORIES
