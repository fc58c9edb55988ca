"""The broker's log of models: numbered, bounded, and told to whoever may read it."""

import pytest

from paintmq.broker.accounting.log_book import (
    MOST_LINES,
    MOST_TOLD,
    KeptLine,
    LogBook,
    LogFilter,
    LoggedTask,
    log_filter,
)
from paintmq.task import TaskId

A, B = LoggedTask(TaskId("a" * 32), "alice"), LoggedTask(TaskId("b" * 32), "bob")
ALL = LogFilter()


def line(text: str, *tasks: LoggedTask, worker: str = "n/cpu-0", level: int = 0) -> KeptLine:
    return KeptLine(at=1.0, worker=worker, text=text, level=level, tasks=tasks)


def texts(book: LogBook, reader: str, wanted: LogFilter = ALL) -> list[object]:
    told = book.tell(0, wanted, lambda owner: owner == reader, is_admin=reader == "admin")
    return [each["text"] for each in told.events if isinstance(each, dict)]


def make_book(*lines: KeptLine) -> LogBook:
    book = LogBook()
    book.add(lines)
    return book


def test_a_reader_is_told_of_its_own_tasks_alone() -> None:
    book = make_book(line("a", A), line("b", B), line("both", A, B), line("of none"))

    assert texts(book, "alice") == ["a"]
    assert texts(book, "bob") == ["b"]
    assert texts(book, "admin") == ["a", "b", "both", "of none"]
    assert texts(book, "") == []


def test_a_reader_may_ask_for_one_worker_or_one_task() -> None:
    book = make_book(line("a", A), line("b", B, worker="n/cpu-1"), line("both", A, B))

    assert texts(book, "admin", LogFilter(worker="n/cpu-1")) == ["b"]
    assert texts(book, "admin", LogFilter(task=A.id)) == ["a", "both"]


def test_lines_are_numbered_and_a_reader_goes_on_where_it_was() -> None:
    book = make_book(line("1"), line("2"))
    first = book.tell(0, ALL, bool, is_admin=True)
    book.add([line("3")])

    second = book.tell(first.next, ALL, bool, is_admin=True)

    assert [each["number"] for each in second.events if isinstance(each, dict)] == [3]
    assert book.tell(-1, ALL, bool, is_admin=True).next == 3
    assert book.tell(99, ALL, bool, is_admin=True).next == 3


def test_what_is_gone_is_told_to_be_missed() -> None:
    book = make_book(*[line("x")] * (MOST_LINES + 7))

    told = book.tell(0, ALL, bool, is_admin=True)

    assert told.missed == 7
    assert len(told.events) == MOST_TOLD
    assert told.more


def test_its_memory_is_bounded_by_characters_too() -> None:
    book = make_book(*[line("x" * 2000)] * MOST_LINES)

    assert len(book._kept) < 5000
    assert book.tell(0, ALL, bool, is_admin=True).missed == MOST_LINES - len(book._kept)
    assert len(book.tell(book.last - 1000, ALL, bool, is_admin=True).events) < MOST_TOLD


def test_a_note_tells_how_many_lines_a_worker_has_dropped() -> None:
    book = make_book(KeptLine(at=1.0, worker="w", text="", dropped=5))

    (note,) = book.tell(0, ALL, bool, is_admin=True).events
    assert note == {"number": 1, "at": 1.0, "kind": "dropped", "worker": "w", "count": 5}
    assert book.dropped == 5


def test_levels_have_pythons_names() -> None:
    book = make_book(*[line("", level=level) for level in (0, 5, 10, 25, 30, 40, 50)])

    told = book.tell(0, ALL, bool, is_admin=True)
    assert [each["level"] for each in told.events if isinstance(each, dict)] == [
        "", "debug", "debug", "info", "warning", "error", "critical",
    ]  # fmt: skip


def test_a_filter_is_of_names() -> None:
    assert log_filter({"worker": "w", "after": 3}) == LogFilter(worker="w")
    with pytest.raises(ValueError, match="task = 3"):
        log_filter({"task": 3})
