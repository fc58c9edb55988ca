"""PostgreSQL as the place of the journal, for brokers that stand by for each other::

    [broker]
    journal = "postgresql://paintmq@db.example/paintmq"

    [plugins.settings.postgres]
    payloads = "/mnt/shared/paintmq"

Needs the extra ``postgres``. The password belongs in ``~/.pgpass``, ``PGPASSWORD`` or a file:
``journal = "postgresql:"`` with ``dsn_file = "/run/secrets/paintmq-dsn"``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from paintmq_plugins.settings_table import at_least, check_table

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterStore
    from paintmq.storing import Store

MISSING = (
    "a journal in PostgreSQL needs the package psycopg: install it with "
    "pip install 'paintmq[postgres]'"
)


@frozen(kw_only=True)
class PostgresSettings:
    """``[plugins.settings.postgres]``."""

    dsn_file: str = ""
    """A file with the address of the database, read when the broker starts."""
    schema: str = "paintmq"
    """The schema with the tables; brokers that have one in common stand by for each other."""
    payloads: str = ""
    """A folder that all these brokers share, for payloads above ``inline_bytes``; empty: all
    payloads are in the database."""
    inline_bytes: int = field(default=256 * 1024, validator=at_least(0))
    lease: float = field(default=5.0, validator=at_least(1.0))
    """Seconds without a word to the database after which a broker says nothing more, and another
    takes its place."""
    patience: float = field(default=15.0, validator=at_least(1.0))
    """Seconds that a broker waits for the database before it gives up."""


_settings = PostgresSettings()


def paintmq_configure(settings: Mapping[str, Any]) -> None:
    global _settings
    check_table(PostgresSettings, settings, plugin="postgres")
    _settings = PostgresSettings(**settings)


def make_store(journal: str) -> "Store":
    """Return the store at this address, not opened yet.

    Raises:
        ImportError: psycopg is not installed.
        OSError, ValueError: the file with the address cannot be read, or holds none.
    """
    try:
        from paintmq_plugins.postgres.store import PostgresStore
    except ImportError as error:
        raise ImportError(MISSING) from error

    return PostgresStore(_address(journal), _settings)


def _address(journal: str) -> str:
    if "//" in journal:
        return journal
    if not _settings.dsn_file:
        raise ValueError(
            "it names no database: write postgresql://USER@HOST/DATABASE, or let dsn_file in "
            "[plugins.settings.postgres] name a file with that"
        )
    address = Path(_settings.dsn_file).expanduser().read_text("utf-8").strip()
    if not address:
        raise ValueError(f"{_settings.dsn_file} is empty")
    return address


def paintmq_register_stores(register: "RegisterStore") -> None:
    register("postgresql", make_store)
    register("postgres", make_store)
