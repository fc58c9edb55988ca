"""Files without names: opened by processes that may, never another by mistake, never shortened."""

import fcntl
import gc
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paintmq.shared_memory.memory_file import make_file, open_file
from paintmq.shared_memory.reference import PAGE, Whereabouts

OPEN = """\
import sys
from paintmq.shared_memory.memory_file import open_file
from paintmq.shared_memory.reference import Whereabouts
file = open_file(Whereabouts(int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])))
print(file is not None and file.secret.hex())
"""


def test_another_process_opens_it_and_reads_the_secret_that_proves_so() -> None:
    file = make_file(PAGE)
    assert file is not None
    where = file.where

    told = subprocess.run(
        [sys.executable, "-c", OPEN, str(where.process), str(where.descriptor), where.arena.hex()],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() == file.secret.hex()


def test_no_other_file_is_opened_than_the_one_that_was_named(tmp_path: Path) -> None:
    named, other = make_file(PAGE), make_file(PAGE)
    assert named is not None
    assert other is not None
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    blocking = os.open(pipe, os.O_RDWR)
    try:
        for descriptor in (other.descriptor, blocking, 1_000_000):
            assert open_file(Whereabouts(os.getpid(), descriptor, named.arena)) is None
    finally:
        os.close(blocking)
    assert open_file(named.where._replace(process=2**22 + 1)) is None


def test_a_file_that_could_be_shortened_is_not_used() -> None:
    arena = bytes(16)
    descriptor = os.memfd_create(f"paintmq-{arena.hex()}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, PAGE)
        where = Whereabouts(os.getpid(), descriptor, arena)
        assert open_file(where) is None

        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        assert open_file(where) is not None
    finally:
        os.close(descriptor)


def test_whoever_has_it_can_neither_shorten_nor_extend_it() -> None:
    file = make_file(4 * PAGE)
    assert file is not None
    theirs = open_file(file.where)
    assert theirs is not None

    for size in (0, PAGE, 8 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(theirs.descriptor, size)
    # What can be done is to empty it: it then reads as zeros, and no reader dies of it.
    theirs.give_back(0, 4 * PAGE)
    assert mmap.mmap(file.descriptor, PAGE)[:] == bytes(PAGE)


def test_nothing_of_it_is_left_when_the_last_that_has_it_lets_go() -> None:
    file = make_file(PAGE)
    assert file is not None
    where = file.where

    del file
    gc.collect()

    assert open_file(where) is None
    assert not list(Path("/dev/shm").glob(f"*{where.arena.hex()}*"))


def test_where_the_system_has_no_such_files_none_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "memfd_create", forbidden)

    assert make_file(PAGE) is None
