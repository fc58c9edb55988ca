"""The window: what fits goes, what does not waits in order of arrival."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paintmq.client.window import Place, Window, WindowLimits


def enter(window: Window, size: int) -> Place:
    place = window.place(size)
    place.ask_for()
    return place


def is_inside(place: Place) -> bool:
    return place.is_inside


def test_nothing_is_made_to_wait_for_where_there_is_room() -> None:
    window = Window(WindowLimits(tasks=1, bytes=100))

    assert window.place(60).ask_for() is None
    waits = window.place(60).ask_for()
    assert waits is not None
    assert not waits.done()


def test_tasks_and_bytes_are_both_bounded() -> None:
    window = Window(WindowLimits(tasks=2, bytes=100))

    first = enter(window, 60)
    assert is_inside(first)
    assert not is_inside(enter(window, 60))
    first.give_back()
    assert (window.tasks, window.bytes) == (1, 60)
    assert is_inside(enter(window, 10))
    assert not is_inside(enter(window, 10))


def test_what_is_larger_than_the_window_goes_alone() -> None:
    window = Window(WindowLimits(tasks=10, bytes=100))
    giant = enter(window, 1_000)

    assert is_inside(giant)
    assert not is_inside(enter(window, 1))


def test_nobody_overtakes_one_that_waits_for_more_room() -> None:
    window = Window(WindowLimits(tasks=10, bytes=100))
    first = enter(window, 80)
    large, small = enter(window, 50), enter(window, 1)

    assert (is_inside(large), is_inside(small)) == (False, False)
    first.give_back()
    assert (is_inside(large), is_inside(small)) == (True, True)


def test_who_gave_up_waiting_takes_no_room() -> None:
    window = Window(WindowLimits(tasks=1, bytes=100))
    inside = enter(window, 1)
    first, second = enter(window, 1), enter(window, 1)
    first.give_back()
    inside.give_back()

    assert is_inside(second)
    assert (window.tasks, window.bytes) == (1, 1)


def test_who_gave_up_waiting_holds_up_nobody_behind() -> None:
    window = Window(WindowLimits(tasks=10, bytes=100))
    enter(window, 80)
    large, small = enter(window, 50), enter(window, 1)
    large.give_back()

    assert is_inside(small)


def test_what_must_not_wait_is_counted_all_the_same() -> None:
    window = Window(WindowLimits(tasks=1, bytes=100))
    for _ in range(2):
        window.place(70).take()

    assert (window.tasks, window.bytes) == (2, 140)
    assert not is_inside(enter(window, 0))


def test_those_who_wait_are_told_when_the_client_closes() -> None:
    window = Window(WindowLimits(tasks=1, bytes=100))
    enter(window, 1)
    waiting, gone = enter(window, 1), enter(window, 1)
    gone.give_back()
    window.give_up(RuntimeError("closed"))

    assert waiting.granted is not None
    with pytest.raises(RuntimeError, match="closed"):
        waiting.granted.result(0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "take", "give back"]), st.integers(0, 60)), max_size=60
    )
)
def test_room_is_never_lost_whatever_is_asked_for_and_given_back(
    steps: list[tuple[str, int]],
) -> None:
    window = Window(WindowLimits(tasks=3, bytes=100))
    places: list[Place] = []
    for step, number in steps:
        if step == "give back" and places:
            places[number % len(places)].give_back()
        elif step == "take":
            places.append(window.place(number))
            places[-1].take()
        else:
            places.append(enter(window, number))
        inside = [place for place in places if is_inside(place)]
        assert (window.tasks, window.bytes) == (len(inside), sum(p.size for p in inside))
    for place in places:
        place.give_back()

    assert (window.tasks, window.bytes) == (0, 0)
    assert is_inside(enter(window, 1_000))
