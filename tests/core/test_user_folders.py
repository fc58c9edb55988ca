"""What the system refuses is told with its cause, what would do, and the setting."""

import errno
import os
from pathlib import Path

import pytest

from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.client.journal import ClientJournal
from paintmq.errors import StoreError
from paintmq.transport.key_files import load_broker_keys
from paintmq.user_folders import refused

SETTING = "broker.journal"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "Permission denied; user {uid} may not use it: give it to that user"),
        (errno.EROFS, "Read-only file system; that file system is read-only, or name"),
        (errno.EDQUOT, "Disk quota exceeded; make room there (df -h, df -i, quota), or name"),
        (errno.ENOSPC, "No space left on device; make room there"),
        (errno.ENOTDIR, "Not a directory; a file of that name is in the way, or name"),
        (errno.EMFILE, "Too many open files; raise the limit of open files"),
        (errno.ENOENT, "No such file or directory; name another place with broker.journal"),
    ],
)
def test_each_refusal_of_the_system_comes_with_a_remedy(number: int, remedy: str) -> None:
    said = refused(OSError(number, os.strerror(number)), SETTING)

    assert said.startswith(remedy.format(uid=os.geteuid()))
    assert number == errno.EMFILE or said.endswith(f"name another place with {SETTING}")


def test_a_journal_in_the_place_of_a_file_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = SqliteStore(tmp_path / "file" / "journal")

    with pytest.raises(StoreError, match=r"cannot be opened: Not a directory.*broker\.journal"):
        store.open(lambda: None)


def test_a_clients_journal_in_the_place_of_a_file_names_the_argument(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"cannot be used: Not a directory.*durable=FOLDER"):
        ClientJournal(tmp_path / "file" / "journal").open()


def test_a_folder_without_keys_names_the_setting_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"\(broker\.keys\): make them with `paintmq keys init"):
        load_broker_keys(tmp_path)


def test_a_part_of_a_journal_that_another_user_owns_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says "unable to open database file" alone, and a backup would be no remedy."""
    SqliteStore(tmp_path).close()
    store = SqliteStore(tmp_path / "journal")
    store.open(lambda: None)
    store.close()
    database = tmp_path / "journal" / "paintmq.db"
    content = database.read_bytes()
    database.unlink()
    database.mkdir()  # which root cannot open as a file either
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != database and access(path, mode))

    with pytest.raises(StoreError) as refusal:
        SqliteStore(tmp_path / "journal").open(lambda: None)

    assert f"the journal's {database} cannot be used: Permission denied" in str(refusal.value)
    assert "name another place with broker.journal" in str(refusal.value)
    assert "restore" not in str(refusal.value)
    database.rmdir()
    database.write_bytes(content)
