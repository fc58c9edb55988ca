"""One broker leads, and only its commits count: paused leaders, lost answers, a database away."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from tests.harness.postgres import PostgresServer
from tests.harness.tcp_relay import TcpRelay

from paintmq.errors import LeadLostError, StoreError
from paintmq.storing import Leader
from paintmq.testing.store_contract import OpenStore, accepted
from paintmq_plugins.postgres import PostgresSettings
from paintmq_plugins.postgres import writer as writer_module
from paintmq_plugins.postgres.store import PostgresStore

Make = Callable[..., PostgresStore]
Ask = Callable[[str], list[tuple[Any, ...]]]
LOG = "SELECT sequence FROM log ORDER BY sequence"


def pause(store: PostgresStore) -> None:
    """Let the broker's lease run out as if it were stopped; its sessions stay as they are."""
    leadership = store._leadership
    leadership._ended.set()
    assert leadership._bell is not None
    leadership._bell[1].close()
    assert leadership._thread is not None
    leadership._thread.join()


def claimed(store: PostgresStore) -> list[Leader]:
    """Claim until the store leads; return who led at each attempt before."""
    before = []
    while (leader := store.claim("second", "")) is not None:
        before.append(leader)
    return before


def test_a_paused_leader_that_wakes_up_commits_nothing(make: Make, ask: Ask) -> None:
    first, second = OpenStore(make()), make()
    assert isinstance(first.store, PostgresStore)
    first.write(accepted("1"))
    first.collect_until()
    pause(first.store)
    ask("UPDATE leader SET renewed = renewed - interval '1 minute'")
    before = claimed(second)
    first.write(accepted("2"))

    with pytest.raises(LeadLostError, match="no longer leads"):
        first.collect_until()
    assert before[0].silent_for > 50
    assert ask(LOG) == [(1,)]
    taken = OpenStore(second)
    assert [task.request.id for task in taken.recovered.tasks] == [accepted("1").request.id]
    second.close()
    with pytest.raises(StoreError):
        first.store.close()


def test_a_leader_that_is_heard_of_keeps_the_lead(make: Make) -> None:
    first, second = OpenStore(make()), make()

    assert second.claim("second", "") is not None
    assert first.store.confirm()
    second.close()
    first.store.close()


def test_whoever_stops_in_order_leaves_the_lead_at_once(make: Make) -> None:
    first, second = OpenStore(make()), make()
    first.store.close()

    assert claimed(second) == []
    second.close()


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_whose_answer_was_lost_is_made_once(
    make: Make, ask: Ask, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    right = writer_module._transaction
    lost = threading.Event()

    def losing(connection: Any, rows: Any, epoch: int) -> list[str]:
        if lost.is_set():
            return right(connection, rows, epoch)
        lost.set()
        if committed:
            right(connection, rows, epoch)
        connection.close()
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(writer_module, "_transaction", losing)
    store = OpenStore(make())
    store.write(accepted("1"))
    store.collect_until()
    store.write(accepted("2"))
    store.collect_until()
    store.store.close()

    assert lost.is_set()
    assert ask(LOG) == [(1,), (2,)]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_database_that_is_started_again_costs_nothing(
    server: PostgresServer, make: Make, ask: Ask, how: signal.Signals
) -> None:
    store = OpenStore(make(patience=60.0))
    store.write(accepted("1", b"pixels"), b"pixels")
    store.collect_until()
    server.stop(how)
    store.write(accepted("2"))
    server.start()
    store.collect_until()

    assert store.fetch(accepted("1", b"pixels").request, "in", "0") == b"pixels"
    store.store.close()
    assert ask(LOG) == [(1,), (2,)]


@pytest.mark.slow
def test_a_leader_without_its_database_falls_silent_and_then_gives_up(
    server: PostgresServer, make: Make
) -> None:
    store = OpenStore(make(lease=1.0, patience=2.0))
    server.stop()
    try:
        said: list[bool] = []
        with pytest.raises(LeadLostError, match="has not answered for"):
            said.extend(iter(store.store.confirm, None))
        assert not said[-1]
        with pytest.raises(LeadLostError):
            store.store.close()
    finally:
        server.start()


@pytest.mark.slow
def test_a_leader_that_is_cut_off_is_silent_before_another_leads_and_commits_nothing_after(
    server: PostgresServer, make: Make, schema: str
) -> None:
    with TcpRelay(server.port) as network:
        address = server.address.replace(str(server.port), str(network.port))
        settings = PostgresSettings(schema=schema, lease=1.0, patience=60.0)
        first, second = OpenStore(PostgresStore(address, settings)), make(lease=1.0)
        first.write(accepted("1"))
        first.collect_until()
        network.cut()
        first.write(accepted("2"))

        claimed(second)
        assert not first.store.confirm(), "it may not speak once another leads"
        taken = OpenStore(second)
        network.mend()
        with pytest.raises(LeadLostError):
            first.collect_until()
        with pytest.raises(LeadLostError):
            list(iter(first.store.confirm, None))
        taken.write(accepted("3"))
        taken.collect_until()

        assert [task.request.id for task in taken.recovered.tasks] == [accepted("1").request.id]
        second.close()
        third = OpenStore(make())
        ids = {task.request.id for task in third.recovered.tasks}
        assert ids == {accepted("1").request.id, accepted("3").request.id}
        third.store.close()
        with pytest.raises(StoreError):
            first.store.close()
