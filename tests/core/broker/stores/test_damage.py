"""What a disk did to the journal behind our back is found, and never becomes somebody's result.

For every damage one of these holds: the store refuses to open; or it says how many records are
lost; or it names the damaged tasks; or nothing was lost. All tasks it gives back as whole are
exactly what was stored, and so are their payloads.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.forked_child import forked_child

from paintmq.broker.records import StoredTask
from paintmq.broker.stores.blobs import BlobFolder
from paintmq.broker.stores.database import DATABASE_NAME
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.broker.stores.upkeep import Upkeep
from paintmq.errors import StoreError
from paintmq.task import TaskId, TaskState
from paintmq.testing.store_contract import OpenStore, accepted, changed, finished

TASKS = 40
WAL = DATABASE_NAME + "-wal"


def small(number: int) -> bytes:
    return f"small {number} ".encode() * 300


def large(number: int) -> bytes:
    return f"large {number} ".encode() * 40_000


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[TaskId, StoredTask]]:
    """A journal as a killed broker leaves it: much of it only in the write-ahead log."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:  # it is copied before an idle moment, however late
        patch.setattr(Upkeep, "_checkpoint_if_needed", lambda self: False)
        return _left_by_a_kill(folder)


def _left_by_a_kill(folder: Path) -> tuple[Path, dict[TaskId, StoredTask]]:
    store = OpenStore(SqliteStore(folder / "live", durability="full"))
    stored: dict[TaskId, StoredTask] = {}
    for number in range(TASKS):
        data = large(number) if number % 8 == 0 else small(number)
        task = accepted(str(number), data)
        store.write(task, data)
        stored[task.request.id] = StoredTask(task.request, task.status)
        if number % 4 == 3:
            result = finished(task, small(number) * 2)
            store.write(result, small(number) * 2)
            stored[task.request.id] = StoredTask(task.request, result.status)
    store.collect_until()
    shutil.copytree(folder / "live", folder / "left")
    store.store.close()
    assert (folder / "left" / WAL).stat().st_size > 0
    return folder / "left", stored


def judge(folder: Path, stored: dict[TaskId, StoredTask]) -> str:
    """Open a damaged journal; return how the damage showed, and fail if it did not."""
    try:
        store = OpenStore(SqliteStore(folder, durability="full"))
    except StoreError as error:
        return "refused" if str(folder) in str(error) else "refused without a name"
    try:
        recovered = store.recovered
        damaged = set(recovered.damaged)
        whole = [task for task in recovered.tasks if task.request.id not in damaged]
        for task in recovered.tasks:
            if task.request.id in damaged:
                assert task.status.state is TaskState.FAILED
                assert task.status.error is not None
                assert task.status.error.code == "corrupt"
        lost = set(stored) - {task.request.id for task in whole}
        assert not lost or damaged or recovered.notes, "tasks are missing without a word"
        for task in whole:
            assert stored[task.request.id] == task
        found_bad = False
        for task in whole:
            number = int(task.request.id)
            if task.status.state is TaskState.SUCCEEDED:
                right, data = small(number) * 2, store.fetch(task.request, "out", "0")
            else:
                right = large(number) if number % 8 == 0 else small(number)
                data = store.fetch(task.request, "in", "0")
            assert data in (right, None), "a changed payload was given out"
            found_bad |= data is None
        if damaged:
            return "named"
        if recovered.notes:
            return "noted"
        return "found when read" if found_bad else "harmless"
    finally:
        store.store.close()


def damage(
    tmp_path: Path, killed: tuple[Path, dict[TaskId, StoredTask]], act: Callable[[Path], None]
) -> str:
    folder = tmp_path / "damaged"
    shutil.copytree(killed[0], folder)
    act(folder)
    return judge(folder, killed[1])


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset % len(data)] ^= 1 << bit
    path.write_bytes(data)


def truncate(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


Killed = tuple[Path, dict[TaskId, StoredTask]]


def test_an_undamaged_journal_is_whole(tmp_path: Path, killed: Killed) -> None:
    assert damage(tmp_path, killed, lambda folder: None) == "harmless"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_torn_write_ahead_log_is_refused(tmp_path: Path, killed: Killed, share: float) -> None:
    assert damage(tmp_path, killed, lambda f: truncate(f / WAL, share)) == "refused"


def test_a_lost_write_ahead_log_is_refused(tmp_path: Path, killed: Killed) -> None:
    assert damage(tmp_path, killed, lambda f: (f / WAL).unlink()) == "refused"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_flipped_bit_in_the_write_ahead_log_is_refused(
    tmp_path: Path, killed: Killed, share: float
) -> None:
    def act(folder: Path) -> None:
        flip(folder / WAL, int((folder / WAL).stat().st_size * share))

    assert damage(tmp_path, killed, act) == "refused"


def test_a_lost_payload_file_fails_its_task_alone(tmp_path: Path, killed: Killed) -> None:
    def act(folder: Path) -> None:
        next((folder / "blobs").glob("??/*")).unlink()

    assert damage(tmp_path, killed, act) == "named"


def test_a_shortened_payload_file_fails_its_task_alone(tmp_path: Path, killed: Killed) -> None:
    def act(folder: Path) -> None:
        truncate(next((folder / "blobs").glob("??/*")), 0.5)

    assert damage(tmp_path, killed, act) == "named"


def test_a_changed_payload_file_is_found_when_it_is_read(tmp_path: Path, killed: Killed) -> None:
    def act(folder: Path) -> None:
        flip(next((folder / "blobs").glob("??/*")), 12_345)

    assert damage(tmp_path, killed, act) == "found when read"


def test_a_lost_sequence_file_is_harmless(tmp_path: Path, killed: Killed) -> None:
    assert damage(tmp_path, killed, lambda f: (f / "sequence").unlink()) == "harmless"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_anywhere_in_the_database_never_give_wrong_data(
    tmp_path: Path, killed: Killed, seed: int
) -> None:
    rng = random.Random(seed)
    seen: dict[str, int] = {}
    settled = tmp_path / "settled"
    shutil.copytree(killed[0], settled)
    store = SqliteStore(settled, durability="full")
    store.open(lambda: None)
    store.close()  # everything is in the database now
    for number in range(40):
        folder = tmp_path / f"flipped-{number}"
        shutil.copytree(settled, folder)
        size = (folder / DATABASE_NAME).stat().st_size
        flip(folder / DATABASE_NAME, rng.randrange(size), rng.randrange(8))
        showed = judge(folder, killed[1])
        seen[showed] = seen.get(showed, 0) + 1
        shutil.rmtree(folder)

    assert sum(seen.values()) == 40
    assert set(seen) > {"harmless"}, f"no damage ever showed: {seen}"


def test_a_damaged_task_stays_failed_after_the_next_start(tmp_path: Path) -> None:
    store = OpenStore(SqliteStore(tmp_path))
    task = accepted("1", large(1))
    store.write(task, large(1))
    store.write(changed(task, TaskState.LEASED))
    store.store.close()
    next((tmp_path / "blobs").glob("??/*")).unlink()
    for _ in range(2):
        store = OpenStore(SqliteStore(tmp_path))
        assert [found.status.state for found in store.recovered.tasks] == [TaskState.FAILED]
        assert store.recovered.damaged == (task.request.id,)
        store.store.close()


def test_a_forked_child_that_closes_its_parents_store_takes_nothing_away(tmp_path: Path) -> None:
    """Closing SQLite's last connection removes the write-ahead log, which is the parent's."""
    store = OpenStore(SqliteStore(tmp_path))
    store.write(accepted("1"))
    store.collect_until()
    assert isinstance(store.store, SqliteStore)
    with forked_child(store.store._close_files):
        store.write(accepted("2"))
        store.collect_until()
        assert (tmp_path / "paintmq.db-wal").exists()
        store.store.close()
        again = OpenStore(SqliteStore(tmp_path))

    assert len(again.recovered.tasks) == 2
    again.store.close()


def test_a_file_that_is_being_written_is_not_swept_away_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, large = BlobFolder(tmp_path, sync=False), b"large " * 100_000
    swept: list[int] = []
    rename = Path.rename

    def sweep_before(path: Path, target: Path) -> Path:
        swept.append(blobs.sweep(is_named=lambda name: False, older_than=-1e9))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", sweep_before)
    name = blobs.write(large)

    assert swept == [0]
    assert bytes(blobs.read(name, len(large)) or b"") == large


def _as_a_folder(path: Path) -> None:
    path.mkdir()


def _as_a_link(path: Path) -> None:
    whole = path.parents[2] / "whole"
    whole.write_bytes(large(1))
    path.symlink_to(whole)


def _as_a_device(path: Path) -> None:
    path.symlink_to(os.devnull)


PLANTED: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a folder": _as_a_folder,
    "a link to a file that is right": _as_a_link,
    "a link to a device": _as_a_device,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=list(PLANTED))
def test_what_is_put_in_the_place_of_a_payload_file_is_never_opened_nor_waited_for(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    store = OpenStore(SqliteStore(tmp_path / "journal"))
    task, other = accepted("1", large(1)), accepted("2", large(2))
    store.write(task, large(1))
    store.write(other, large(2))
    store.collect_until()
    paths = list(tmp_path.glob("journal/blobs/??/*"))
    (planted,) = [path for path in paths if path.read_bytes() == large(1)]
    planted.unlink()
    plant(planted)
    opened = len([*Path("/proc/self/fd").iterdir()])

    assert store.fetch(task.request, "in", "0") is None
    assert store.fetch(other.request, "in", "0") == large(2)
    assert len([*Path("/proc/self/fd").iterdir()]) == opened
    store.store.close()
    again = OpenStore(SqliteStore(tmp_path / "journal"))
    assert again.recovered.damaged == (task.request.id,)
    again.store.close()


@pytest.mark.parametrize("plant", [os.mkfifo, _as_a_folder, _as_a_device])
@pytest.mark.parametrize("name", ["lock", "sequence"])
def test_a_journal_in_which_something_else_has_the_name_of_its_files_is_refused_in_words(
    tmp_path: Path, name: str, plant: Callable[[Path], None]
) -> None:
    plant(tmp_path / name)

    with pytest.raises(StoreError, match=str(tmp_path)):
        SqliteStore(tmp_path).open(lambda: None)


def test_a_folder_in_the_place_of_the_ballast_is_no_ballast(tmp_path: Path) -> None:
    folder = StoreFolder.open(tmp_path)
    (tmp_path / "ballast").mkdir()
    folder.fill_ballast(4096)

    assert not folder.release_ballast()
    folder.close()
