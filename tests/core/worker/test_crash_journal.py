import json
from pathlib import Path

import pytest

from paintmq.testing.worker_bench import key_of
from paintmq.worker import crash_journal
from paintmq.worker.crash_journal import CrashJournal, runtime_folder


def open_journal(folder: Path) -> CrashJournal:
    journal = CrashJournal.open(folder, "node/cpu-0")
    assert journal is not None
    return journal


def leave(journal: CrashJournal) -> None:
    """Let go of the journal as a killed process does."""
    import os

    os.close(journal._descriptor)


def test_a_killed_worker_leaves_what_it_ran_to_its_successor(tmp_path: Path) -> None:
    first = open_journal(tmp_path / "run")
    assert first.found == ()
    first.write([key_of(1), key_of(2)])
    first.write([key_of(1), key_of(2)])
    first.write([key_of(2)])
    leave(first)

    second = open_journal(tmp_path / "run")

    assert second.found == (key_of(2),)
    leave(second)
    third = open_journal(tmp_path / "run")
    assert third.found == ()
    third.close()


def test_a_worker_that_leaves_in_order_leaves_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "run")
    journal.write([key_of(1)])

    journal.close()

    assert not (tmp_path / "run").exists()


def test_one_live_worker_has_the_journal(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "run")
    other = CrashJournal.open(tmp_path / "run", "node/cpu-1")
    assert other is not None

    assert CrashJournal.open(tmp_path / "run", "node/cpu-0") is None

    journal.close()
    assert (tmp_path / "run").exists()
    other.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1}', '{"boot": "B", "running": [[1]]}'])
def test_a_torn_or_foreign_note_is_nothing(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_journal, "_boot_id", lambda: "B")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "node~cpu-0.running").write_text(text)

    journal = open_journal(tmp_path / "run")

    assert journal.found == ()
    journal.close()


def test_a_note_from_before_a_reboot_is_nothing(tmp_path: Path) -> None:
    note = {"boot": "another", "running": [["0" * 32, 1, 1]]}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "node~cpu-0.running").write_text(json.dumps(note))

    journal = open_journal(tmp_path / "run")

    assert journal.found == ()
    journal.close()


def test_a_folder_that_cannot_be_had_means_no_journal(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")

    assert CrashJournal.open(tmp_path / "run", "node/cpu-0") is None


def test_journals_lie_where_the_session_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_folder() == tmp_path / "paintmq"

    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_folder().name.startswith("paintmq-")
