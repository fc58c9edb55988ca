"""Task ids: unlike any other's, and of the form that everybody knows."""

import os
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from paintmq.identifiers import _FETCHED, new_task_id


def test_a_task_id_is_a_uuid_of_version_7_that_sorts_by_time() -> None:
    first, second = UUID(new_task_id()), UUID(new_task_id())

    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert first.int >> 80 <= second.int >> 80


def test_no_two_are_alike_in_any_threads() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: new_task_id(), range(4 * _FETCHED)))

    assert len({task_id[12:] for task_id in made}) == len(made)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_a_child_process_makes_others_than_its_parent() -> None:
    new_task_id()  # more than one portion is fetched at a time, and may be left
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, new_task_id().encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(read, 32).decode()[13:] != new_task_id()[13:]
    os.close(read)
    os.close(write)
