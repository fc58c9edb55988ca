import os

import pytest

from paintmq.worker.agent.readiness import Readiness


def test_who_was_forgotten_in_the_same_turn_is_not_called() -> None:
    readiness, called = Readiness(), list[str]()
    pipes = [os.pipe(), os.pipe()]
    for index, (reader, writer) in enumerate(pipes):
        os.write(writer, b"x")

        def callback(index: int = index) -> None:
            called.append(f"pipe {index}")
            readiness.forget(pipes[1 - index][0])

        readiness.watch(reader, callback)

    readiness.wait(5.0)

    assert len(called) == 1
    for descriptor in (end for pipe in pipes for end in pipe):
        os.close(descriptor)


def test_forgetting_what_is_not_watched_is_harmless() -> None:
    Readiness().forget(12345)


@pytest.mark.parametrize("write", [True, False])
def test_writing_is_waited_for_only_where_it_is_asked_for(write: bool) -> None:
    readiness, called = Readiness(), list[str]()
    reader, writer = os.pipe()
    readiness.watch(writer, lambda: called.append("writable"), write=write)

    readiness.wait(0.0)

    assert bool(called) == write
    os.close(reader)
    os.close(writer)
