"""The tables of a journal in PostgreSQL, and their version.

``task`` and ``payload`` are the present, ``log`` is the past, as in SQLite; rows have the same
checksums. ``leader`` is one row: who leads, by which epoch, and when it was last heard of.
``fence`` is what every commit of the journal begins with.
"""

import psycopg
from psycopg import sql

from paintmq.errors import StoreError
from paintmq_plugins.postgres.sessions import Connection

SCHEMA_VERSION = 1

LOST = "PQ001"
"""What ``fence`` fails with."""

_TABLES = f"""
CREATE TABLE about (
    version integer NOT NULL,
    store text NOT NULL             -- of this journal, for its folder of payloads
);
CREATE TABLE leader (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL,
    name text NOT NULL,
    address text NOT NULL,
    application text NOT NULL,      -- of its sessions
    since timestamptz NOT NULL,
    renewed timestamptz NOT NULL,
    released boolean NOT NULL       -- it has stopped in order
) WITH (fillfactor = 10);
INSERT INTO leader VALUES (true, 0, '', '', '', clock_timestamp(), clock_timestamp(), true);
CREATE TABLE task (
    id text PRIMARY KEY,
    accepted bigint NOT NULL,       -- sequence of its acceptance
    request bytea NOT NULL,
    request_check bytea NOT NULL,
    sequence bigint NOT NULL,       -- sequence of its last change
    status bytea NOT NULL,
    status_check bytea NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
CREATE TABLE payload (
    task text NOT NULL,
    direction text NOT NULL,        -- 'in' or 'out'
    name text NOT NULL,
    size bigint NOT NULL,
    digest text NOT NULL,           -- of the data; without data, the name of its file
    data bytea,                     -- NULL: in the folder of payloads
    row_check bytea NOT NULL,
    PRIMARY KEY (task, direction, name)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE payload ALTER data SET STORAGE EXTERNAL;
CREATE INDEX payload_file ON payload (digest) WHERE data IS NULL;
CREATE TABLE log (
    sequence bigint PRIMARY KEY,
    at double precision NOT NULL,
    record bytea NOT NULL,
    row_check bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE TABLE setting (
    name text PRIMARY KEY,
    value bytea NOT NULL,
    row_check bytea NOT NULL
);
CREATE FUNCTION fence(mine bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM leader WHERE epoch = mine FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another broker leads: epoch % is over', mine USING ERRCODE = '{LOST}';
    END IF;
END $$;
"""


def prepare(connection: Connection, schema: str, key: int) -> None:
    """Make the tables unless they are there.

    Args:
        connection: any session, outside of a transaction.
        schema: where they belong.
        key: of an advisory lock, so that only one broker makes them.

    Raises:
        StoreError: they are of another version.
        psycopg.Error: they cannot be made.
    """
    version = _version(connection, schema)
    if version is None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
            version = _version(connection, schema)
            if version is None:
                _make(connection, schema)
                return
    if version != SCHEMA_VERSION:
        was, remedy = (
            ("a newer", "update PaintMQ") if version > SCHEMA_VERSION else ("an older", "")
        )
        remedy = remedy or "stop all its brokers with that version once in order"
        raise StoreError(
            f"the journal in the schema {schema} was written by {was} PaintMQ (version {version}, "
            f"this one knows {SCHEMA_VERSION}): {remedy}, or use another schema "
            f"([plugins.settings.postgres] schema)"
        )


def _version(connection: Connection, schema: str) -> int | None:
    # By name in the catalog: where the session's search path leads, it may have looked up before
    # another broker made the schema.
    found = connection.execute(
        "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relname = 'about'",
        (schema,),
    ).fetchone()
    if found is None:
        return None
    about = sql.Identifier(schema, "about")
    row = connection.execute(sql.SQL("SELECT version FROM {}").format(about)).fetchone()
    return None if row is None else int(row[0])


def _make(connection: Connection, schema: str) -> None:
    there = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
    if there.fetchone() is None:  # IF NOT EXISTS wants the right to make one though it is there
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    connection.execute(_TABLES)
    connection.execute(
        "INSERT INTO about VALUES (%s, replace(gen_random_uuid()::text, '-', ''))",
        (SCHEMA_VERSION,),
    )


def is_lost(error: BaseException) -> bool:
    """Return whether it is the fence that failed."""
    return isinstance(error, psycopg.Error) and error.sqlstate == LOST
