"""A lock ends with its owner, however many children it has forked."""

import os
from pathlib import Path

import pytest
from tests.harness.forked_child import forked_child

from paintmq.process import file_lock


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def test_a_file_is_locked_by_one(tmp_path: Path) -> None:
    mine, other = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    file_lock.lock(mine)

    with pytest.raises(BlockingIOError):
        file_lock.lock(other)

    file_lock.unlock(mine)
    file_lock.lock(other)
    file_lock.unlock(other)


def test_a_lock_that_was_given_up_is_free_while_a_forked_child_lives(tmp_path: Path) -> None:
    mine = opened(tmp_path / "lock")
    file_lock.lock(mine)
    with forked_child():
        file_lock.unlock(mine)

        again = opened(tmp_path / "lock")
        file_lock.lock(again)
        file_lock.unlock(again)


def test_a_child_has_nothing_of_its_parents_locks(tmp_path: Path) -> None:
    """So they end with the parent, too, when it is killed."""
    mine = opened(tmp_path / "lock")
    file_lock.lock(mine)

    def check() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(mine)
        file_lock.unlock(mine)  # as the parent's objects do when the child cleans up

    with forked_child(check):
        other = opened(tmp_path / "lock")
        with pytest.raises(BlockingIOError):
            file_lock.lock(other)
        os.close(other)
    file_lock.unlock(mine)
