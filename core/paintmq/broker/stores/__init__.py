"""Where the journal lives: the interface ``Store``, in memory, or in SQLite and files."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from paintmq.broker.stores.store import BackupState, Collected, Entry, Leader, PayloadKey, Store
from paintmq.config import BrokerConfig, without_password
from paintmq.errors import ConfigError
from paintmq.task import Buffer
from paintmq.user_folders import data_folder

__all__ = [
    "BackupState",
    "Buffer",
    "Collected",
    "Entry",
    "Leader",
    "PayloadKey",
    "Store",
    "journal_folder",
    "make_store",
    "statistics_path",
]


def journal_folder(config: BrokerConfig) -> Path:
    """Return where a durable broker with this configuration keeps its journal."""
    if config.journal:
        return Path(config.journal).expanduser()
    return data_folder("journal", instead="broker.journal (PAINTMQ_BROKER__JOURNAL=PATH)")


def statistics_path(config: BrokerConfig) -> Path | None:
    """Return where statistics are kept beside the journal; None where it is not in a folder."""
    if config.durability == "memory" or _SCHEME.match(config.journal) is not None:
        return None
    return journal_folder(config) / "statistics.db"


_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):")
"""What a path does not begin with: ``./name:x`` is a folder, and so is a drive's ``c:``."""


def make_store(
    config: BrokerConfig,
    *,
    accept_data_loss: bool = False,
    factories: Mapping[str, Callable[[str], Store]] = MappingProxyType({}),
) -> Store:
    """Return the store, not yet opened, that the configuration asks for.

    ``factories`` are those of plugins: ``journal = "scheme:..."`` chooses one.

    Raises:
        ConfigError: no plugin provides a store of that scheme, or its factory fails.
    """
    if (match := _SCHEME.match(config.journal)) is not None:
        store = _made_by_a_plugin(match[1], config.journal, factories)
        # What forgets everything is asked for by no scheme.
        store.durability = "process" if config.durability == "process" else "full"
        return store
    if config.durability == "memory":
        from paintmq.broker.stores.memory import MemoryStore

        return MemoryStore()
    from paintmq.broker.stores.sqlite import SqliteStore

    return SqliteStore(
        journal_folder(config),
        durability=config.durability,
        accept_data_loss=accept_data_loss,
    )


def _made_by_a_plugin(
    scheme: str, journal: str, factories: Mapping[str, Callable[[str], Store]]
) -> Store:
    shown = without_password(journal)
    if scheme not in factories:
        raise ConfigError(
            f"broker.journal = {shown!r}: no plugin provides a store {scheme!r} (provided:"
            f" {', '.join(sorted(factories)) or 'none'}); a folder of that name is written ./…"
        )
    try:
        store = factories[scheme](journal)
    except Exception as error:  # a plugin's code; the operator chose it, so say so and stop
        raise ConfigError(
            f"broker.journal = {shown!r}: the store cannot be made: {error}"
        ) from error
    if not isinstance(store, Store):
        raise ConfigError(f"broker.journal = {shown!r}: {store!r} is no Store")
    return store
