"""Copying the journal of a broker that goes on working."""

import json
from pathlib import Path

import pytest
from attrs import evolve
from tests.harness.operated_broker import OperatedBroker
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins

from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.stores import BackupState, Store
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.errors import StoreError
from paintmq.task import TaskState
from paintmq.wire.messages import Accepted, Query


@pytest.mark.slow
def test_a_broker_goes_on_from_a_backup(durable: OperatedBroker, tmp_path: Path) -> None:
    task = durable.submit()

    status, said, _ = durable.command("backup", "copy")

    assert status == 0
    assert said.startswith(f"{tmp_path}/copy: 1 tasks as of record 2, 0 payload files, 0.")
    config = toy_config(tmp_path / "copy")
    with BrokerServer(config, toy_plugins()) as server, toy_client(server) as client:
        client.say(Query((task.id,)))
        assert client.hear(Accepted).state is TaskState.QUEUED


def test_programs_are_given_json(durable: OperatedBroker, tmp_path: Path) -> None:
    state = json.loads(durable.command("backup", str(tmp_path / "copy"), "--json")[1])

    assert (state["state"], state["path"]) == ("done", str(tmp_path / "copy"))


def test_a_place_that_is_taken_is_bad_input(durable: OperatedBroker, tmp_path: Path) -> None:
    status, _, errors = durable.command("backup", str(tmp_path))

    assert status == 2
    assert f"something at {tmp_path} already" in errors


def test_a_failure_and_a_loss_end_in_status_1(
    durable: OperatedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = BackupState(path="/copy", state="failed", error="no space left")
    states = iter([evolve(ends, state="running"), ends])
    monkeypatch.setattr(SqliteStore, "back_up", lambda store, path: next(states))
    failed = durable.command("backup", "copy")
    monkeypatch.setattr(
        SqliteStore, "back_up", lambda store, path: evolve(ends, state="done", damaged=2)
    )
    lost = durable.command("backup", "copy")

    assert failed == (1, "", "error: the backup to /copy failed: no space left\n")
    assert lost[0] == 1
    assert "2 payload files of the journal are lost or changed" in lost[2]


def test_a_journal_in_memory_has_nothing_to_copy(operated: OperatedBroker) -> None:
    status, _, errors = operated.command("backup", "copy")

    assert status == 2
    assert "keeps its journal in memory" in errors


def test_a_store_of_a_plugin_need_not_be_able_to(tmp_path: Path) -> None:
    class Kept(Store):
        keeps_payloads = False
        open = append = fetch = collect = close = lambda *arguments: None  # type: ignore[assignment]

    with pytest.raises(StoreError, match="Kept cannot be backed up"):
        Kept().back_up(tmp_path)
