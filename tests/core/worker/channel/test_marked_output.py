"""Which task each line of a host's output is of, whatever else is written in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paintmq.worker.channel.marked_output import (
    LINE_LENGTH,
    MOST_NAMED,
    PIECE,
    OutputLine,
    OutputReader,
    mark_of,
    pieces,
)

A, B = "a" * 32, "b" * 32


def said(tasks: tuple[str, ...], text: str, level: int = 0) -> bytes:
    return b"".join(pieces(mark_of(tasks, level), text.encode()))


def read(*parts: bytes) -> list[OutputLine]:
    reader = OutputReader()
    lines = [line for part in parts for line in reader.feed(part)]
    return lines + reader.flush()


def test_a_line_is_of_the_tasks_that_were_run_when_it_was_written() -> None:
    lines = read(said((A,), "one\n"), said((B,), "two\n", 30), said((), "between\n", 20))

    assert lines == [
        OutputLine("one", 0, (A,)),
        OutputLine("two", 30, (B,)),
        OutputLine("between", 20, ()),
    ]


def test_what_is_written_below_python_is_of_whatever_runs() -> None:
    lines = read(b"loaded libgomp\n", said((A,), "one\n"), b"from C\n")

    assert [line.tasks for line in lines] == [None, (A,), None]


def test_lines_that_are_begun_are_not_mixed_with_others() -> None:
    lines = read(said((A,), "be"), b"from ", said((B,), "other\n"), b"C\n", said((A,), "gun\n"))

    assert [(line.text, line.tasks) for line in lines] == [
        ("other", (B,)),
        ("from C", None),
        ("begun", (A,)),
    ]


@given(st.lists(st.integers(1, 200), max_size=20))
def test_it_makes_no_difference_where_the_pipe_cuts(cuts: list[int]) -> None:
    whole = said((A,), "one\ntwo\n") + b"C\n" + said((A, B), "three") + said((), "four\n", 40)
    parts, rest = [], whole
    for cut in cuts:
        parts.append(rest[:cut])
        rest = rest[cut:]

    assert read(*parts, rest) == read(whole)


def test_no_piece_is_larger_than_a_write_that_nothing_interrupts() -> None:
    tasks = tuple(f"{n:032x}" for n in range(MOST_NAMED))
    text = "x" * 10_000

    written = pieces(mark_of(tasks, 20), text.encode())

    assert max(map(len, written)) <= PIECE
    (line,) = read(*written)
    assert line.tasks == tasks
    assert line.text.startswith("x" * LINE_LENGTH)
    assert line.text.endswith(f"({10_000 - LINE_LENGTH} bytes more)")


def test_a_batch_too_large_to_name_is_left_to_the_agent() -> None:
    tasks = tuple(f"{n:032x}" for n in range(MOST_NAMED + 1))

    assert [line.tasks for line in read(said(tasks, "one\n"))] == [None]


def test_a_model_cannot_write_a_mark_by_printing_one() -> None:
    (line,) = read(said((A,), f"\x1e0;{B}\x1fforged\n"))

    assert line.tasks == (A,)


def test_a_mark_that_names_nonsense_names_no_task() -> None:
    (line,) = read(f"\x1e0;{B}0,abc\x1fforged\n\x1e\x1f".encode())

    assert line.tasks == ()


def test_a_progress_bar_is_what_a_terminal_would_show_of_it() -> None:
    assert [line.text for line in read(said((A,), "\r 7%"), said((A,), "\r 8%\n"))] == [" 8%"]
    assert [line.text for line in read(b"1\r", b"2\r", b"3\r\n")] == ["3"]


@pytest.mark.parametrize("escape", ["\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "\x07", "\x9b"])
def test_nothing_that_a_model_prints_moves_a_readers_cursor(escape: str) -> None:
    (line,) = read(said((A,), f"a{escape}b\n"))

    assert line.text == "ab"


def test_many_lines_that_are_begun_take_no_more_memory_than_some() -> None:
    reader = OutputReader()
    lines = [line for n in range(1000) for line in reader.feed(said((f"{n:032x}",), "no end"))]

    assert len(lines) + len(reader.flush()) == 1000
    assert len(lines) > 900
    assert reader.feed(b"\x1e" + b"0" * 10_000) == []
    assert len(reader._unread) == 0, "no mark is so long"
