"""Payloads are written past the system's cache where that goes, and are the same where not."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from paintmq.broker.stores.payload_file import CHUNK_BYTES, write_payload
from paintmq.digests import digest_of
from paintmq.shared_memory.memory_file import make_file
from paintmq.shared_memory.ranges import view_of
from paintmq.shared_memory.reference import HEADER_BYTES, Reference

SIZES = (1, 4095, 4096, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 4097)


def written(path: Path, data: bytes | memoryview, *, past_cache: bool = True) -> str:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        return write_payload(descriptor, data, past_cache=past_cache)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("past_cache", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_the_file_holds_the_bytes_and_the_digest_is_theirs(
    tmp_path: Path, size: int, past_cache: bool
) -> None:
    data = os.urandom(size)

    digest = written(tmp_path / "file", data, past_cache=past_cache)

    assert (tmp_path / "file").read_bytes() == data
    assert digest == digest_of(data)


@pytest.mark.parametrize("at", ["F_SETFL", "write"])
def test_a_file_system_that_always_uses_its_cache_takes_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Some say so when they are asked, some when something is written."""
    data = os.urandom(CHUNK_BYTES + 4097)
    write, control = os.write, fcntl.fcntl
    flags = {"direct": False}

    def set_flags(descriptor: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL:
            flags["direct"] = bool(argument & os.O_DIRECT)
            if at == "F_SETFL" and flags["direct"]:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return int(control(descriptor, command, argument))

    def refuse(descriptor: int, content: memoryview) -> int:
        if at == "write" and flags["direct"]:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return write(descriptor, content)

    monkeypatch.setattr(fcntl, "fcntl", set_flags)
    monkeypatch.setattr(os, "write", refuse)
    digest = written(tmp_path / "file", data)
    monkeypatch.undo()

    assert (tmp_path / "file").read_bytes() == data
    assert digest == digest_of(data)


def test_an_argument_that_is_always_refused_is_an_error_and_no_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, content: memoryview) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        written(tmp_path / "file", bytes(CHUNK_BYTES))


def test_a_disk_that_takes_a_part_at_a_time_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, write = os.urandom(CHUNK_BYTES + 10_000), os.write
    monkeypatch.setattr(os, "write", lambda file, part: write(file, part[:512_000]))

    digest = written(tmp_path / "file", data)

    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == data
    assert digest == digest_of(data)


def test_a_client_that_writes_to_its_memory_meanwhile_spoils_neither_digest_nor_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the disk is whole by its own digest, whatever it is."""
    data, write = bytearray(2 * CHUNK_BYTES), os.write

    def write_and_change(descriptor: int, content: memoryview) -> int:
        data[:] = os.urandom(len(data))
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", write_and_change)
    digest = written(tmp_path / "file", memoryview(data))
    monkeypatch.undo()

    assert digest == digest_of((tmp_path / "file").read_bytes())


def test_a_payload_in_an_arena_is_written_from_there_and_nothing_beside_it(
    tmp_path: Path,
) -> None:
    file = make_file(1024 * 1024)
    assert file is not None
    file.whole()[:] = os.urandom(file.size)
    begin = 4096 + HEADER_BYTES
    payload = view_of(file, Reference(file.where, 4096, 1), 100_000)

    digest = written(tmp_path / "file", memoryview(payload))

    assert (tmp_path / "file").read_bytes() == file.whole()[begin : begin + 100_000]
    assert digest == digest_of(payload)
    assert written(tmp_path / "part", memoryview(payload)[5:10]) == digest_of(payload[5:10])
