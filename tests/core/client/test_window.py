"""The window: what fits goes, what does not waits in order of arrival."""

import pytest

from paintmq.client.window import Window, WindowLimits


def test_tasks_and_bytes_are_both_bounded() -> None:
    window = Window(WindowLimits(tasks=2, bytes=100))

    assert window.enter(60).done()
    assert not window.enter(60).done()
    window.leave(60)
    assert (window.tasks, window.bytes) == (1, 60)
    assert window.enter(10).done()
    assert not window.enter(10).done()


def test_what_is_larger_than_the_window_goes_alone() -> None:
    window = Window(WindowLimits(tasks=10, bytes=100))
    giant = window.enter(1_000)

    assert giant.done()
    assert not window.enter(1).done()


def test_nobody_overtakes_one_that_waits_for_more_room() -> None:
    window = Window(WindowLimits(tasks=10, bytes=100))
    window.enter(80)
    large, small = window.enter(50), window.enter(1)

    assert (large.done(), small.done()) == (False, False)
    window.leave(80)
    assert (large.done(), small.done()) == (True, True)


def test_who_gave_up_waiting_takes_no_room() -> None:
    window = Window(WindowLimits(tasks=1, bytes=100))
    window.enter(1)
    first, second = window.enter(1), window.enter(1)
    first.cancel()
    window.leave(1)

    assert second.done()
    assert (window.tasks, window.bytes) == (1, 1)


def test_what_must_not_wait_is_counted_all_the_same() -> None:
    window = Window(WindowLimits(tasks=1, bytes=100))
    window.force(70)
    window.force(70)

    assert (window.tasks, window.bytes) == (2, 140)
    assert not window.enter(0).done()


def test_at_the_end_everybody_who_waits_is_told() -> None:
    window = Window(WindowLimits(tasks=1, bytes=100))
    window.enter(1)
    waiting, gone = window.enter(1), window.enter(1)
    gone.cancel()
    window.give_up(RuntimeError("closed"))

    with pytest.raises(RuntimeError, match="closed"):
        waiting.result(0)
