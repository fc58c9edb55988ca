"""Questions the server answers itself."""

from pathlib import Path

import pytest

from paintmq.broker.records import Recovered, StoredTask
from paintmq.broker.shell.server_control import ADMIN_SUBJECTS, answer, back_up, describe_journal
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.memory import MemoryStore
from paintmq.config import BrokerConfig
from paintmq.errors import StoreError
from paintmq.task import TaskState
from paintmq.testing.store_contract import accepted, changed
from paintmq.wire.messages import Ask


def ask(subject: str) -> Ask:
    return Ask(request_id=3, subject=subject, arguments={})


def test_what_changes_things_for_others_is_for_admins() -> None:
    for subject in sorted(ADMIN_SUBJECTS):
        refused = answer(ask(subject), {subject: lambda _: "done"}, is_admin=False)
        allowed = answer(ask(subject), {subject: lambda _: "done"}, is_admin=True)

        assert refused is not None
        assert "takes an admin's key" in refused.error
        assert allowed is not None
        assert allowed.value == "done"


def test_what_is_not_in_the_table_is_the_machines() -> None:
    assert answer(ask("statistics"), {}, is_admin=True) is None


def test_a_question_that_makes_no_sense_is_answered_in_words() -> None:
    def fail(arguments: object) -> None:
        raise ValueError("no such thing")

    refused = answer(ask("version"), {"version": fail}, is_admin=False)

    assert refused is not None
    assert (refused.request_id, refused.error) == (3, "no such thing")


@pytest.mark.parametrize("path", [None, "", 7])
def test_a_backup_wants_a_path(path: object) -> None:
    with pytest.raises(ValueError, match="wants a path"):
        back_up(Journal(MemoryStore()), BrokerConfig(), {"path": path})  # type: ignore[dict-item]


def test_strangers_make_no_backups(tmp_path: Path) -> None:
    """Where to write is not for everybody who reaches an insecure broker to say."""
    arguments: dict[str, str] = {"path": str(tmp_path / "copy")}
    journal = Journal(MemoryStore())
    insecure = BrokerConfig(host="0.0.0.0", insecure=True)

    with pytest.raises(ValueError, match="keys init"):
        back_up(journal, insecure, arguments)
    for good in (BrokerConfig(), BrokerConfig(host="localhost"), BrokerConfig(host="::1")):
        with pytest.raises(StoreError, match="in memory"):
            back_up(journal, good, arguments)
    with pytest.raises(StoreError, match="in memory"):
        back_up(journal, BrokerConfig(host="0.0.0.0", keys="keys"), arguments)


def test_an_operator_is_told_where_the_journal_is_and_what_waits_there() -> None:
    waiting = accepted("1")
    ended = changed(waiting, TaskState.CANCELLED, ended_at=1.0)
    found = Recovered(
        tasks=(
            StoredTask(waiting.request, waiting.status),
            StoredTask(waiting.request, ended.status),
        )
    )
    durable = BrokerConfig(durability="full", journal="/var/lib/paintmq")

    assert describe_journal(durable, found) == "/var/lib/paintmq (full), with 1 unfinished tasks"
    assert describe_journal(BrokerConfig(), Recovered()).startswith("in memory")
