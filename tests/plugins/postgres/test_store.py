"""The journal in PostgreSQL keeps what every store must keep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.harness.postgres import PostgresServer

from paintmq.errors import StoreError, StoreUnreachableError
from paintmq.storing import BrokerBooted
from paintmq.task import TaskState
from paintmq.testing.store_contract import OpenStore, StoreContract, accepted, changed, finished
from paintmq_plugins import postgres
from paintmq_plugins.postgres import PostgresSettings, pruning
from paintmq_plugins.postgres.store import PostgresStore

Make = Callable[..., PostgresStore]
Ask = Callable[[str], list[tuple[Any, ...]]]


class Contract(StoreContract):
    @pytest.fixture(autouse=True)
    def _made_with(self, make: Make) -> None:
        self._make = make

    def make(self, tmp_path: Path) -> PostgresStore:
        return self._make()


class TestAllInTheDatabase(Contract):
    pass


class TestLargePayloadsInAFolder(Contract):
    def make(self, tmp_path: Path) -> PostgresStore:
        return self._make(payloads=str(tmp_path / "payloads"))


class TestProcess(Contract):
    def make(self, tmp_path: Path) -> PostgresStore:
        store = self._make()
        store.durability = "process"
        return store


LARGE = b"large " * 100_000


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "blobs").glob("??/*"))


def test_a_payload_is_a_file_only_above_the_limit_and_goes_with_its_task(
    make: Make, tmp_path: Path
) -> None:
    store = OpenStore(make(payloads=str(tmp_path), inline_bytes=1000))
    one = accepted("1", b"s" * 1000, b"l" * 1001)
    store.write(one, b"s" * 1000, b"l" * 1001)
    store.collect_until()
    before = len(files(tmp_path))
    store.write(finished(one))
    store.collect_until()
    store.store.close()

    assert (before, files(tmp_path)) == (1, [])


def test_a_folder_that_is_not_mounted_is_refused_and_makes_no_task_fail(
    make: Make, tmp_path: Path
) -> None:
    store = OpenStore(make(payloads=str(tmp_path / "mounted")))
    store.write(accepted("1", LARGE), LARGE)
    store.store.close()
    (tmp_path / "mounted").rename(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="is not the one: is it mounted"):
        OpenStore(make(payloads=str(tmp_path / "mounted")))
    with pytest.raises(StoreError, match="1 payloads are in a folder: name it with"):
        OpenStore(make())
    again = OpenStore(make(payloads=str(tmp_path / "elsewhere")))
    assert again.recovered.damaged == ()
    again.store.close()


def test_a_folder_of_another_journal_is_refused(
    server: PostgresServer, schema: str, make: Make, tmp_path: Path
) -> None:
    OpenStore(make(payloads=str(tmp_path))).store.close()
    other = PostgresSettings(schema=f"{schema}_other", payloads=str(tmp_path))

    with pytest.raises(StoreError, match="belongs to another journal"):
        OpenStore(PostgresStore(server.address, other))


@pytest.mark.parametrize(
    ("version", "told"),
    [(99, "a newer PaintMQ .version 99.*update PaintMQ"), (0, "an older PaintMQ .version 0")],
)
def test_tables_of_another_version_are_refused_and_left_alone(
    make: Make, ask: Ask, version: int, told: str
) -> None:
    OpenStore(make()).store.close()
    ask(f"UPDATE about SET version = {version}")

    with pytest.raises(StoreError, match=told):
        OpenStore(make())
    assert ask("SELECT version FROM about") == [(version,)]


def test_a_second_broker_is_told_who_leads(make: Make) -> None:
    first = make()
    assert first.claim("first", "tcp://first:5550") is None
    OpenStore(first)
    second = make()

    with pytest.raises(StoreError, match=r"in use: first at tcp://first:5550 leads .epoch 1"):
        OpenStore(second)
    first.close()
    OpenStore(second).store.close()


def test_a_refusal_names_the_database_and_never_its_password(server: PostgresServer) -> None:
    address = f"postgresql://nobody:sesame@127.0.0.1:{server.port}/missing"

    with pytest.raises(StoreError) as caught:
        OpenStore(PostgresStore(address, PostgresSettings()))

    assert f"127.0.0.1:{server.port}/missing (schema paintmq)" in str(caught.value)
    assert 'role "nobody" does not exist' in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_no_server_at_all_is_an_error_that_may_pass(make: Make) -> None:
    with pytest.raises(StoreUnreachableError, match="Connection refused"):
        OpenStore(PostgresStore("postgresql://u@127.0.0.1:1/d", PostgresSettings()))


def test_a_row_that_the_disk_changed_costs_its_task_alone(make: Make, ask: Ask) -> None:
    store = OpenStore(make())
    one, two, three = accepted("1", b"x"), accepted("2", b"x"), accepted("3", b"x")
    for each in (one, two, three):
        store.write(each, b"x")
    store.store.close()
    ask(f"UPDATE task SET status = '{{}}' WHERE id = '{one.request.id}'")
    ask(f"DELETE FROM payload WHERE task = '{two.request.id}'")

    again = OpenStore(make())
    assert set(again.recovered.damaged) == {one.request.id, two.request.id}
    errors = [task.status.error for task in again.recovered.tasks]
    assert [error and error.code for error in errors] == ["corrupt", "corrupt", None]
    again.store.close()


def test_a_payload_that_the_disk_changed_is_not_given(make: Make, ask: Ask) -> None:
    store = OpenStore(make())
    one, two = accepted("1", b"right"), accepted("2", b"right")
    store.write(one, b"right")
    store.write(two, b"right")
    store.collect_until()
    ask(f"UPDATE payload SET data = 'wrong' WHERE task = '{one.request.id}'")
    ask(f"UPDATE payload SET size = 4 WHERE task = '{two.request.id}'")

    assert store.fetch(one.request, "in", "0") is None
    assert store.fetch(two.request, "in", "0") is None
    store.store.close()


def test_a_task_has_a_story(make: Make) -> None:
    store = OpenStore(make())
    one, two = accepted("1"), accepted("2")
    for record in (one, two, changed(one, TaskState.LEASED, attempt=1, incarnation=7)):
        store.write(record)
    store.write(BrokerBooted(8, 1001.0))
    store.write(finished(one))
    store.collect_until()
    while (story := store.store.story(one.request.id)) is None:
        assert store.store.collect() is not None
    store.store.close()

    told = [line.event for line in story]
    assert told == ["accepted", "leased", "broker started", "succeeded"]


def test_the_log_keeps_so_many_records_and_its_last_one(
    make: Make, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "STEP", 10)
    monkeypatch.setattr(pruning, "KEPT_RECORDS", 25)
    store = OpenStore(make())
    for number in range(100):
        store.write(accepted(str(number)))
        store.collect_until()
    store.store.close()

    ((count, last),) = ask("SELECT count(*), max(sequence) FROM log")
    assert last == 100
    assert 25 <= count <= 25 + 3 * 10


def test_an_old_log_goes_by_age(make: Make, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "STEP", 1)
    store = OpenStore(make())
    store.write(accepted("1"), at=1000.0)
    store.write(accepted("2"), at=1000.0 + 8 * 86_400)
    store.collect_until()
    store.write(accepted("3"), at=1000.0 + 8 * 86_400)
    store.store.close()

    assert ask("SELECT sequence FROM log ORDER BY sequence") == [(2,), (3,)]


def test_backups_are_the_databases_business(make: Make, tmp_path: Path) -> None:
    store = OpenStore(make())
    with pytest.raises(StoreError, match="pg_dump"):
        store.store.back_up(tmp_path)
    store.store.close()


# ---- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lease": "long"}, "lease = 'long' must be of type float"),
        ({"lease": 0.1}, "lease = 0.1 must be at least 1.0"),
        ({"dsn": "x"}, "'dsn' is no setting of the postgres plugin: dsn_file, schema"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        postgres.paintmq_configure(settings)


def test_the_address_may_come_from_a_file(
    server: PostgresServer, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_settings", PostgresSettings())
    with pytest.raises(ValueError, match="names no database"):
        postgres.make_store("postgresql:")
    secret = tmp_path / "dsn"
    secret.write_text(server.address + "\n", encoding="utf-8")
    postgres.paintmq_configure({"dsn_file": str(secret), "schema": schema})

    OpenStore(postgres.make_store("postgresql:")).store.close()
