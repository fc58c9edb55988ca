"""The tables are made once, however many brokers start on an empty database at the same time."""

import threading

import psycopg
import pytest
from tests.harness.postgres import PostgresServer

from paintmq_plugins.postgres.schema import SCHEMA_VERSION, prepare

KEY = 77
WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.mark.timeout(60)
def test_a_broker_that_waited_for_another_to_make_the_tables_finds_them(
    server: PostgresServer, schema: str
) -> None:
    """It has looked up its search path before, when there was no such schema yet."""
    path = f"-c search_path={schema}"
    with (
        psycopg.connect(server.address, options=path, autocommit=True) as first,
        psycopg.connect(server.address, options=path, autocommit=True) as second,
    ):
        first.execute("SELECT pg_advisory_lock(%s)", (KEY,))
        made = threading.Thread(target=prepare, args=(second, schema, KEY))
        made.start()
        while first.execute(WAITING).fetchone() is None:
            pass
        prepare(first, schema, KEY)
        first.execute("SELECT pg_advisory_unlock(%s)", (KEY,))
        made.join()
        prepare(second, schema, KEY)

        assert second.execute("SELECT version FROM about").fetchall() == [(SCHEMA_VERSION,)]
