import json
from pathlib import Path

import pytest
from tests.harness.worker_bench import key_of

from paintmq.worker.agent import crash_journal
from paintmq.worker.agent.crash_journal import RESERVED, CrashJournal, runtime_folder
from paintmq.worker.channel.batch_mark import MARK_SIZE, BatchMark
from paintmq.worker.channel.messages import MarkPlace
from paintmq.worker.machine.batches import HandedOver

BOTH = HandedOver(1, (key_of(1), key_of(2)), 2)
HALF = HandedOver(1, (key_of(2),), 2)
NEXT = HandedOver(2, (key_of(3),), 1)


def open_journal(folder: Path) -> CrashJournal:
    journal = CrashJournal.open(folder, "node/cpu-0")
    assert journal is not None
    return journal


def leave(journal: CrashJournal) -> None:
    """Let go of the journal as a killed process does."""
    import os

    os.close(journal._descriptor)


def begin(journal: CrashJournal, batch: int) -> None:
    BatchMark.at(journal.mark_place).set(batch)


def test_a_killed_worker_leaves_what_its_host_was_at_to_its_successor(tmp_path: Path) -> None:
    first = open_journal(tmp_path / "run")
    assert first.found is None
    first.write([BOTH, NEXT])
    begin(first, 1)
    first.write([BOTH, NEXT])
    first.write([HALF, NEXT])
    leave(first)

    second = open_journal(tmp_path / "run")

    assert second.found == HALF
    leave(second)
    third = open_journal(tmp_path / "run")
    assert third.found is None
    third.close()


def test_what_the_host_is_at_is_seen_while_it_lives(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    seen = [journal.marked()]
    for batch in (7, 0, 8):
        begin(journal, batch)
        seen.append(journal.marked())
    BatchMark.at(MarkPlace(str(journal.path), "of another life")).set(9)

    assert [*seen, journal.marked()] == [0, 7, 0, 8, 0]
    journal.close()


def test_work_goes_on_where_there_is_no_room_for_its_notes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import os

    full = os.open("/dev/full", os.O_RDWR)
    journal = CrashJournal(tmp_path / "x", None, full)
    for batch in (BOTH, NEXT, BOTH):
        journal.write([batch])

    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'x'}: crashes of this node may go unseen: [Errno 28] No space left on device"
    ]
    os.close(full)
    BatchMark.at(MarkPlace("/dev/full", "run")).set(3)


def test_memory_for_the_notes_is_taken_at_the_start(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.path.stat().st_blocks * 512 >= RESERVED
    begin(journal, 2)
    journal.write([NEXT])
    leave(journal)

    assert open_journal(tmp_path).found == NEXT


@pytest.mark.parametrize("begun", [None, 0, 1, 7])
def test_what_no_host_had_begun_or_what_had_ended_died_of_nothing(
    tmp_path: Path, begun: int | None
) -> None:
    journal = open_journal(tmp_path / "run")
    journal.write([NEXT])
    if begun is not None:
        begin(journal, begun)
    leave(journal)

    after = open_journal(tmp_path / "run")

    assert after.found is None
    after.close()


def test_what_an_old_host_notes_in_its_last_moments_means_nothing_to_the_next_node(
    tmp_path: Path,
) -> None:
    first = open_journal(tmp_path / "run")
    old = BatchMark.at(first.mark_place)
    leave(first)
    second = open_journal(tmp_path / "run")
    second.write([NEXT])
    old.set(NEXT.number)
    leave(second)

    third = open_journal(tmp_path / "run")

    assert third.found is None
    third.close()


def test_a_mark_that_cannot_be_had_notes_nothing(tmp_path: Path) -> None:
    for place in (MarkPlace(), MarkPlace(str(tmp_path / "gone"), "run")):
        mark = BatchMark.at(place)
        mark.set(1)
        mark.clear()

    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_leaves_in_order_leaves_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "run")
    journal.write([NEXT])

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


NOTE = '{"boot": "B", "run": "R", "batches": '


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"boot": 1}',
        NOTE + "[[1]]}",
        NOTE + "[[1, 1, [[2]]]]}",
        NOTE + "[[1, 1, []]]}",
    ],
)
def test_a_torn_or_foreign_note_is_nothing(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_journal, "_boot_id", lambda: "B")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "node~cpu-0.running").write_text("R 1".ljust(MARK_SIZE) + text)

    journal = open_journal(tmp_path / "run")

    assert journal.found is None
    journal.close()


def test_a_note_from_before_a_reboot_is_nothing(tmp_path: Path) -> None:
    note = {"boot": "another", "run": "R", "batches": [[1, 1, [["0" * 32, 1, 1]]]]}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "node~cpu-0.running").write_text("R 1".ljust(MARK_SIZE) + json.dumps(note))

    journal = open_journal(tmp_path / "run")

    assert journal.found is None
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


def test_a_batch_that_is_over_costs_no_note_and_answers_for_nothing(tmp_path: Path) -> None:
    first = open_journal(tmp_path / "run")
    first.write([BOTH, NEXT])
    begin(first, 1)
    begin(first, 0)
    before = first.path.read_bytes()
    first.write([NEXT])
    first.write([])
    assert first.path.read_bytes() == before
    leave(first)

    second = open_journal(tmp_path / "run")
    assert second.found is None
    second.close()


def test_the_mark_of_a_host_that_ended_in_a_batch_means_nothing_once_that_was_noted(
    tmp_path: Path,
) -> None:
    first = open_journal(tmp_path / "run")
    first.write([BOTH])
    begin(first, 1)
    first.write([])
    first.write([], host_ended=True)
    leave(first)

    second = open_journal(tmp_path / "run")
    assert second.found is None
    second.close()
