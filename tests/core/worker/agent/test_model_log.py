"""What models print reaches log and broker: bounded, with its task, and never lost silently."""

import logging

import pytest

from paintmq.task import Fence, TaskId
from paintmq.wire.codec import decode, encode
from paintmq.worker.agent.model_log import BURST, LINES_A_SECOND, MOST_WAITING, ModelLog
from paintmq.worker.channel.marked_output import OutputLine
from paintmq.worker.machine.batches import HandedOver

A, B = TaskId("a" * 32), TaskId("b" * 32)


def batch(number: int, *tasks: TaskId, size: int | None = None) -> HandedOver:
    keys = tuple((task, Fence(1, 1)) for task in tasks)
    return HandedOver(number, keys, len(keys) if size is None else size)


@pytest.fixture
def log() -> ModelLog:
    log = ModelLog("n/cpu-0")
    log.welcomed(observes=True)
    return log


def test_a_line_reaches_the_log_and_the_broker_with_its_task(
    log: ModelLog, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "paintmq.worker"):
        log.heard([OutputLine("careful", 30, (A,)), OutputLine("hello", 0, (A, B))], [], now=1.0)

    first, second = caplog.records
    assert (first.getMessage(), first.levelname) == ("n/cpu-0: careful", "WARNING")
    assert first.__dict__["task_id"] == A
    assert second.__dict__["task_ids"] == [A, B]
    said = log.pop(now=3.0)
    assert said is not None
    assert [(each.text, each.level, each.tasks, each.age) for each in said.lines] == [
        ("careful", 30, (A,), 2.0),
        ("hello", 0, (A, B), 2.0),
    ]
    assert decode(encode(said)) == said


def test_what_was_written_below_python_is_of_all_that_may_be_running(log: ModelLog) -> None:
    log.heard([OutputLine("C")], [batch(1, A), batch(2, B)], now=1.0)

    said = log.pop(now=1.0)
    assert said is not None
    assert said.lines[0].tasks == (A, B)


def test_it_is_of_no_task_where_one_may_run_that_is_not_known_any_more(log: ModelLog) -> None:
    log.heard([OutputLine("secret of one that was cancelled")], [batch(1, A, size=2)], now=1.0)

    said = log.pop(now=1.0)
    assert said is not None
    assert said.lines[0].tasks == ()


def test_a_flood_is_cut_counted_and_told(log: ModelLog, caplog: pytest.LogCaptureFixture) -> None:
    flood = [OutputLine(f"{n}", 0, (A,)) for n in range(3 * BURST)]
    with caplog.at_level(logging.INFO, "paintmq.worker"):
        log.heard(flood, [], now=1.0)
        log.heard([OutputLine("after", 0, (A,))], [], now=2.0)

    assert log.dropped == 2 * BURST
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == BURST + 2
    assert messages[-2].startswith(f"n/cpu-0: {2 * BURST} lines were dropped")
    lines, dropped, now = 0, 0, 2.0
    while (said := log.pop(now=now)) is not None:
        lines, dropped, now = lines + len(said.lines), dropped + said.dropped, now + 1
    assert lines + dropped == 3 * BURST + 1, "every line is told, or told to be lacking"


def test_room_comes_back_with_time(log: ModelLog) -> None:
    log.heard([OutputLine("x")] * BURST, [], now=1.0)
    log.heard([OutputLine("x")] * 1000, [], now=2.0)

    assert log.dropped == 1000 - LINES_A_SECOND


def test_without_a_broker_that_wants_them_lines_wait_within_bounds() -> None:
    log = ModelLog("n/cpu-0")
    for second in range(60):
        log.heard([OutputLine(f"{second}", 0, ())] * 100, [], now=float(second))

    assert log.pop(now=100.0) is None
    assert log.next_deadline() == float("inf")
    log.welcomed(observes=True)
    total, lines, now = 0, 0, 100.0
    while (said := log.pop(now=now)) is not None:
        lines, total, now = lines + len(said.lines), total + said.dropped, now + 1
    assert lines == MOST_WAITING
    assert lines + total == 6000


def test_messages_to_the_broker_are_few_and_small(log: ModelLog) -> None:
    log.heard([OutputLine("\u20ac" * 600, 0, (A,) * 60)] * 200, [], now=1.0)

    assert log.pop(now=1.0) is not None
    assert log.pop(now=1.1) is None, "not at once again"
    said = log.pop(now=1.3)
    assert said is not None
    encode(said)  # raises where a body is too large
