"""Payload files are written again once nothing names them, and give way to whatever needs room."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paintmq.broker.stores import exhaustion, spare_files
from paintmq.broker.stores.blobs import BlobFolder
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.spare_files import KEPT_SECONDS, SpareFiles
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.errors import StoreError
from paintmq.task import TaskId
from paintmq.testing.store_contract import OpenStore, accepted, finished

LARGE = b"large " * 100_000
OTHER = b"other " * 100_000
SHORT = b"short " * 60_000


def file_of(folder: Path, name: str, size: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(bytes(size))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def written_again(tmp_path: Path, *, sync: bool = True) -> BlobFolder:
    """Return a folder with one spare file, as large as LARGE."""
    blobs = BlobFolder(tmp_path, sync=sync)
    name = blobs.write(LARGE)
    blobs.unpin([name])
    blobs.remove([name], is_named=lambda _: False)
    assert blobs.read(name, len(LARGE)) is None
    assert names(tmp_path / "spare") == [name]
    return blobs


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("data", [OTHER, SHORT])
def test_a_file_that_is_gone_is_written_again_under_a_name_of_its_own(
    tmp_path: Path, data: bytes, sync: bool
) -> None:
    blobs = written_again(tmp_path, sync=sync)
    inode = next((tmp_path / "spare").iterdir()).stat().st_ino

    name = blobs.write(data)

    assert blobs.path(name).stat().st_ino == inode
    assert blobs.path(name).stat().st_size == len(data)
    assert bytes(blobs.read(name, len(data)) or b"") == data
    assert names(tmp_path / "spare") == []


@pytest.mark.parametrize("size", [len(LARGE) + 1, len(LARGE) // 2 - 1])
def test_a_file_that_would_have_to_grow_or_is_much_too_large_is_left(
    tmp_path: Path, size: int
) -> None:
    blobs = written_again(tmp_path)

    name = blobs.write(bytes(size))

    assert blobs.path(name).stat().st_size == size
    assert len(names(tmp_path / "spare")) == 1


def test_a_file_that_has_another_name_too_is_removed_and_never_written_again(
    tmp_path: Path,
) -> None:
    """It may be somebody's copy of the journal made of hard links."""
    blobs = BlobFolder(tmp_path / "blobs", sync=False)
    name = blobs.write(LARGE)
    (tmp_path / "copy").hardlink_to(blobs.path(name))
    blobs.unpin([name])
    blobs.remove([name], is_named=lambda _: False)
    blobs.write(OTHER)

    assert (tmp_path / "copy").read_bytes() == LARGE


def test_what_is_no_file_is_not_kept(tmp_path: Path) -> None:
    spare = SpareFiles(tmp_path / "spare")
    (tmp_path / "link").symlink_to(file_of(tmp_path, "target", 10))

    assert not spare.keep(tmp_path / "link")
    assert not spare.keep(tmp_path)
    assert not spare.keep(tmp_path / "missing")
    assert len(spare) == 0


def test_so_many_files_and_bytes_are_kept_and_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_files, "MOST_FILES", 3)
    monkeypatch.setattr(spare_files, "MOST_BYTES", 1000)
    spare = SpareFiles(tmp_path / "spare")

    for name in "abcd":
        assert spare.keep(file_of(tmp_path, name, 10))
    assert names(tmp_path / "spare") == ["b", "c", "d"]
    assert spare.keep(file_of(tmp_path, "e", 985))
    assert names(tmp_path / "spare") == ["d", "e"]
    assert not spare.keep(file_of(tmp_path, "f", 1001))


def test_the_best_fit_is_taken(tmp_path: Path) -> None:
    spare = SpareFiles(tmp_path / "spare")
    for name, size in (("a", 150), ("b", 110), ("c", 99)):
        spare.keep(file_of(tmp_path, name, size))

    assert spare.take(100, tmp_path / "taken")
    assert (tmp_path / "taken").stat().st_size == 110
    assert names(tmp_path / "spare") == ["a", "c"]


def test_a_spare_file_that_somebody_removed_is_no_failure(tmp_path: Path) -> None:
    spare = SpareFiles(tmp_path / "spare")
    spare.keep(file_of(tmp_path, "a", 100))
    spare.keep(file_of(tmp_path, "b", 100))
    for path in (tmp_path / "spare").iterdir():
        path.unlink()

    assert not spare.take(100, tmp_path / "taken")
    assert spare.drop()
    assert not spare.drop()


def test_what_was_forgotten_does_not_stay_on_the_disk_for_long(tmp_path: Path) -> None:
    now = 0.0
    spare = SpareFiles(tmp_path / "spare", clock=lambda: now)
    spare.keep(file_of(tmp_path, "a", 10))
    now = 5.0
    spare.keep(file_of(tmp_path, "b", 10))
    now = KEPT_SECONDS

    assert spare.drop(older_than=KEPT_SECONDS)
    assert names(tmp_path / "spare") == ["b"]
    assert not spare.drop(older_than=KEPT_SECONDS)


def test_a_running_broker_drops_them_in_time_and_a_stopped_one_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = tmp_path / "blobs" / "spare"
    store = OpenStore(SqliteStore(tmp_path, watermark=0))
    ended(store, "1")
    wait_until(store, lambda: names(spare) != [])
    monkeypatch.setattr("paintmq.broker.stores.upkeep.KEPT_SECONDS", 0.0)
    wait_until(store, lambda: names(spare) == [])
    monkeypatch.undo()
    ended(store, "2")
    wait_until(store, lambda: names(spare) != [])
    store.store.close()

    assert names(spare) == []


def test_what_a_killed_broker_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = file_of(tmp_path / "blobs" / "spare", "left", 10)
    (tmp_path / "blobs" / "spare" / "somebody's folder").mkdir()
    store = OpenStore(SqliteStore(tmp_path, watermark=0))

    wait_until(store, lambda: not left.exists())
    assert names(left.parent) == ["somebody's folder"]
    store.store.close()


def test_a_full_disk_gets_the_room_of_spare_files_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a task waits, and before the space that is set aside for endings is used."""
    blobs, write = written_again(tmp_path), os.write

    def full(descriptor: int, data: memoryview) -> int:
        if names(tmp_path / "spare"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    name = blobs.write(bytes(len(LARGE) + 1))
    monkeypatch.undo()

    assert blobs.read(name, len(LARGE) + 1) is not None
    assert names(tmp_path / "new") == []


def test_a_commit_that_finds_no_room_has_spare_files_removed_before_the_ballast(
    tmp_path: Path,
) -> None:
    folder = StoreFolder.open(tmp_path / "journal")
    folder.fill_ballast(size=1000)
    spare = [True]
    shortage = exhaustion.Shortage(
        folder, watermark=0, wake=lambda: None, drop_spare=lambda: bool(spare) and spare.pop()
    )

    def commit() -> str:
        if spare:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return "done"

    assert shortage.with_space(commit) == "done"
    assert not shortage.disk_full
    assert (folder.path / "ballast").exists()
    folder.close()


def test_a_disk_is_scarce_only_if_it_is_without_spare_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StoreFolder.open(tmp_path / "journal")
    room = [True, False]  # they are room enough, and then no more
    shortage = exhaustion.Shortage(
        folder, watermark=0, wake=lambda: None, drop_spare=lambda: bool(room) and room.pop(0)
    )
    monkeypatch.setattr(StoreFolder, "is_scarce", lambda *_, **__: len(room) != 1)

    found = []
    for _ in range(2):
        monkeypatch.setattr(shortage, "_next_disk_check", 0.0)
        shortage.check_disk(pending=0)
        found.append(shortage.disk_full)
        room.clear()

    assert found == [False, True]
    folder.close()


def test_a_sync_that_fails_on_a_file_written_again_ends_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OpenStore(SqliteStore(tmp_path, watermark=0))
    ended(store, "1")
    wait_until(store, lambda: names(tmp_path / "blobs" / "spare") != [])

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    store.write(accepted("2", LARGE), LARGE)
    with pytest.raises(StoreError, match="Input/output error"):
        store.collect_until()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="Input/output error"):
        store.store.close()


def ended(store: OpenStore, name: str) -> None:
    """Bring a task to its end, so that the file of its input is not needed any more."""
    task = accepted(name, LARGE)
    store.write(task, LARGE)
    store.write(finished(task))
    store.collect_until()


def wait_until(store: OpenStore, condition: Callable[[], bool]) -> None:
    """Wait for the store's own thread, which is woken by every question."""
    for _ in range(2000):
        if condition():
            return
        store.store.story(TaskId("0" * 32))
        store._woken.wait(0.01)
    raise AssertionError("it never happened")
