"""Where the journal lives: the interface ``Store``, in memory, or in SQLite and files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from paintmq.broker.stores.store import Buffer, Collected, Entry, PayloadKey, Store
from paintmq.config import BrokerConfig

__all__ = ["Buffer", "Collected", "Entry", "PayloadKey", "Store", "journal_folder", "make_store"]


def journal_folder(config: BrokerConfig) -> Path:
    """Return where a durable broker with this configuration keeps its journal."""
    if config.journal:
        return Path(config.journal).expanduser()
    import platformdirs  # not needed by a broker in memory

    return Path(platformdirs.user_data_dir("paintmq")) / "journal"


def make_store(
    config: BrokerConfig,
    *,
    accept_data_loss: bool = False,
    factories: Mapping[str, Callable[[str], Store]] = MappingProxyType({}),
) -> Store:
    """Return the store, not yet opened, that the configuration asks for.

    ``factories`` are those of plugins: ``journal = "scheme:..."`` chooses one.
    """
    scheme = config.journal.partition(":")[0]
    if scheme in factories:
        return factories[scheme](config.journal)
    if config.durability == "memory":
        from paintmq.broker.stores.memory import MemoryStore

        return MemoryStore()
    from paintmq.broker.stores.sqlite import SqliteStore

    return SqliteStore(
        journal_folder(config),
        durability=config.durability,
        accept_data_loss=accept_data_loss,
    )
