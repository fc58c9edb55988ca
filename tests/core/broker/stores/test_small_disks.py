"""The promises of OPERATING.md about disks, on real file systems: full, without inodes, failing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.small_disk import SmallDisk, small_ext4, small_tmpfs

from paintmq.broker.stores import PayloadKey
from paintmq.broker.stores.disk_space import DiskSpace
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.errors import StoreError
from paintmq.testing.store_contract import OpenStore, accepted, finished

LARGE = b"large " * 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_tmpfs(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_ext4(tmp_path / "device") as disk:
        yield disk


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paintmq.broker.stores.exhaustion.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("paintmq.broker.stores.exhaustion.DISK_CHECK_SECONDS", 0.02)


def opened(disk: SmallDisk) -> OpenStore:
    return OpenStore(SqliteStore(disk.path / "journal"))


def wait_for_ballast(disk: SmallDisk, store: OpenStore) -> Path:
    """Wait until the idle store has set its space aside."""
    ballast = disk.path / "journal" / "ballast"
    while not ballast.exists():
        store.store.collect()
        store._woken.wait(0.01)
    return ballast


def closed(store: OpenStore) -> None:
    store.store.close()


# ---- no space left -----------------------------------------------------------------------------


def test_a_full_disk_does_not_end_an_idle_journal_nor_use_its_ballast(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """Checkpoints, pruning and compaction are put off."""
    store = opened(disk)
    ballast = wait_for_ballast(disk, store)
    tasks = [accepted(str(number), b"x" * 5000) for number in range(100)]
    for task in tasks:
        store.write(task, b"x" * 5000)
    store.collect_until()
    disk.fill()
    store.collect_disk_full(full=True)
    assert isinstance(store.store, SqliteStore)
    upkeep = store.store._opened()._upkeep
    upkeep.due = True
    while upkeep.due:
        store.store.collect()
        store._woken.wait(0.01)

    assert ballast.exists()
    assert store.store.collect().durable_sequence == store.sequence
    closed(store)
    assert not [each for each in caplog.messages if "cannot be written" in each]
    again = opened(disk)
    assert [task.request.id for task in again.recovered.tasks] == [t.request.id for t in tasks]
    closed(again)


def test_what_runs_is_recorded_from_the_ballast_when_the_disk_is_full(disk: SmallDisk) -> None:
    store = opened(disk)
    ballast = wait_for_ballast(disk, store)
    tasks = [accepted(str(number)) for number in range(20)]
    for task in tasks:
        store.write(task)
    store.collect_until()
    disk.fill()
    store.collect_disk_full(full=True)
    for task in tasks:
        store.write(finished(task, b"y" * 5000), b"y" * 5000)

    store.collect_until()
    assert not ballast.exists()
    closed(store)
    again = opened(disk)
    assert all(task.status.state.is_final for task in again.recovered.tasks)
    closed(again)


@pytest.mark.parametrize("size", [5000, len(LARGE)])
def test_what_finds_no_space_at_all_waits_for_it_and_nothing_is_lost(
    disk: SmallDisk, size: int
) -> None:
    """Rows and files."""
    store = opened(disk)
    wait_for_ballast(disk, store)
    store.write(accepted("before"))
    store.collect_until()
    filler = disk.fill()
    tasks = [accepted(str(number), b"x" * size) for number in range(8)]
    for task in tasks:
        store.write(task, b"x" * size)
        disk.fill()  # the ballast too is gone
    store.collect_disk_full(full=True)
    filler.unlink()

    assert store.collect_until().durable_sequence == 9
    store.collect_disk_full(full=False)
    assert all(store.fetch(task.request, "in", "0") == b"x" * size for task in tasks)
    closed(store)


def test_a_journal_that_is_closed_on_a_full_disk_is_whole(disk: SmallDisk) -> None:
    store = opened(disk)
    for number in range(100):
        store.write(accepted(str(number), b"x" * 5000), b"x" * 5000)
    store.collect_until()
    disk.fill()

    closed(store)

    again = opened(disk)
    assert len(again.recovered.tasks) == 100
    closed(again)


def test_a_journal_with_a_ballast_is_opened_on_a_full_disk(disk: SmallDisk) -> None:
    store = opened(disk)
    wait_for_ballast(disk, store)
    store.write(accepted("1"))
    store.collect_until()
    closed(store)
    disk.fill()

    again = opened(disk)

    assert len(again.recovered.tasks) == 1
    again.write(accepted("2"))
    again.collect_until()
    closed(again)


def test_a_journal_that_cannot_begin_on_a_full_disk_says_what_to_do(disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(StoreError, match=r"full|No space left"):
        opened(disk)

    disk.fill().unlink()
    (disk.path / "journal").mkdir(exist_ok=True)
    for name in ("lock", "sequence", "paintmq.db"):
        (disk.path / "journal" / name).touch()
    disk.fill()
    with pytest.raises(StoreError, match=r"make room there \(df -h, df -i\), then start again"):
        opened(disk)


# ---- no inodes left ----------------------------------------------------------------------------


def test_a_large_payload_is_kept_in_the_database_where_no_file_can_be_made(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that comes later has to wait, and new tasks are refused."""
    store = opened(disk)
    ballast = wait_for_ballast(disk, store)
    store.write(accepted("before"))
    store.collect_until()
    disk.use_up_inodes()
    tasks = [accepted(str(number), LARGE) for number in range(2)]
    for task in tasks:
        store.write(task, LARGE)

    store.collect_until()
    store.collect_disk_full(full=True)
    assert all(store.fetch(task.request, "in", "0") == LARGE for task in tasks)
    assert ballast.exists(), "it would not have helped"
    assert any("hardly any more files (df -i)" in each for each in caplog.messages)
    for path in disk.path.glob("inode-*"):
        path.unlink()
    store.collect_disk_full(full=False)
    closed(store)


def test_a_file_system_without_a_limit_of_inodes_is_not_short_of_them() -> None:
    space = DiskSpace(size=1 << 40, free=1 << 39, files=0, free_files=0)

    assert space.shortage() == ""
    assert not space.has_no_inodes


def test_a_file_system_that_does_not_know_its_inodes_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StoreFolder.open(tmp_path)
    space = DiskSpace(size=1 << 40, free=1 << 39, files=10**6, free_files=0)
    monkeypatch.setattr(DiskSpace, "of", lambda path: space)

    assert not folder.is_scarce(pending=0)

    monkeypatch.setattr(StoreFolder, "takes_data", lambda folder: False)
    assert folder.is_scarce(pending=0)
    folder.close()


@pytest.mark.parametrize(
    ("space", "shortage"),
    [
        (DiskSpace(1 << 40, (1 << 30) - 1, 10**6, 10**6), "space"),
        (DiskSpace(1 << 40, 1 << 30, 10**6, 10**6), ""),
        (DiskSpace(1000, 49, 0, 0), "space"),
        (DiskSpace(1000, 50, 0, 0), ""),
        (DiskSpace(1 << 40, 1 << 39, 10**6, 999), "inodes"),
        (DiskSpace(1 << 40, 1 << 39, 10**6, 1000), ""),
        (DiskSpace(1 << 40, 1 << 39, 100, 4), "inodes"),
        (DiskSpace(1 << 40, 1 << 39, 100, 5), ""),
    ],
)
def test_a_disk_is_scarce_below_a_gibibyte_or_a_twentieth(space: DiskSpace, shortage: str) -> None:
    assert space.shortage() == shortage


# ---- a disk that fails -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_an_io_error_of_the_device_ends_the_journal_and_what_was_promised_is_there(
    device: SmallDisk, size: int
) -> None:
    store = opened(device)
    store.write(accepted("kept"))
    store.collect_until()
    device.fail()
    store.write(accepted("lost", b"x" * size), b"x" * size)

    with pytest.raises(StoreError, match=r"cannot be written: .*(disk I/O|Input/output) error"):
        store.collect_until()
    with pytest.raises(StoreError):
        closed(store)


def test_a_file_system_that_turns_read_only_ends_the_journal(device: SmallDisk) -> None:
    store = opened(device)
    store.write(accepted("kept"))
    store.collect_until()
    device.turn_read_only()
    store.write(accepted("lost"))

    with pytest.raises(StoreError, match="cannot be written"):
        store.collect_until()
    with pytest.raises(StoreError):
        closed(store)
    with pytest.raises(StoreError, match="Read-only file system"):
        opened(device)


# ---- payload files that others touch -----------------------------------------------------------


def test_a_payload_file_that_shrinks_while_it_is_used_ends_no_process(tmp_path: Path) -> None:
    """A mapped file would end the broker by SIGBUS: cp over a live journal does this."""
    store = OpenStore(SqliteStore(tmp_path))
    task = accepted("1", LARGE)
    store.write(task, LARGE)
    store.collect_until()
    key = PayloadKey(task.request.id, "in", "0")
    store.store.fetch(key)
    while not (payloads := store.store.collect().payloads):
        store._woken.wait(0.01)
    held = payloads[0][1]
    (file,) = (tmp_path / "blobs").glob("*/*" + "[0-9a-f]" * 8)
    os.truncate(file, 10)

    assert held is not None
    assert bytes(held) == LARGE
    assert store.fetch(task.request, "in", "0") is None
    closed(store)


def test_folders_of_others_among_the_payload_files_do_not_end_the_journal(tmp_path: Path) -> None:
    foreign = tmp_path / "blobs" / "ab" / "somebody's"
    foreign.mkdir(parents=True)
    os.utime(foreign, (0, 0))
    store = OpenStore(SqliteStore(tmp_path))
    store.write(accepted("1"))
    store.collect_until()
    wanted = accepted("2", LARGE)
    for number in range(256):
        in_the_way = tmp_path / "blobs" / f"{number:02x}"
        if not in_the_way.exists():
            in_the_way.write_text("a file where a folder should be")

    store.write(wanted, LARGE)
    store.collect_until()

    assert store.fetch(wanted.request, "in", "0") == LARGE
    assert foreign.is_dir()
    closed(store)
