"""One server for all tests of this folder; each test has a schema of its own."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from tests.harness.postgres import MISSING, PostgresServer, binaries

from paintmq_plugins.postgres import PostgresSettings
from paintmq_plugins.postgres.store import PostgresStore


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    if binaries() is None:
        pytest.skip(MISSING)
    with PostgresServer() as running:
        yield running


@pytest.fixture
def schema() -> str:
    return f"t{os.urandom(6).hex()}"


@pytest.fixture
def make(server: PostgresServer, schema: str) -> Callable[..., PostgresStore]:
    """Make a store; each call is another broker on the same journal."""

    def made(**settings: object) -> PostgresStore:
        chosen = PostgresSettings(schema=schema, **settings)  # type: ignore[arg-type]
        return PostgresStore(server.address, chosen)

    return made


@pytest.fixture
def ask(server: PostgresServer, schema: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Run a statement beside the stores, and return its rows."""

    def asked(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(server.address, autocommit=True) as connection:
            connection.execute(f"SET search_path = {schema}")
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return asked
