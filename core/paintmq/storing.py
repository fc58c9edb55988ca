"""What a plugin needs to keep the journal in a place of its own: the interface and its values.

A store is chosen by ``[broker] journal = "scheme:..."`` and registered with
``paintmq_register_stores``; ``paintmq.testing.store_contract.StoreContract`` tests it.
"""

from paintmq.broker.records import (
    BrokerBooted,
    Record,
    Recovered,
    SettingsChanged,
    StoredTask,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
    keeps_inputs,
    replay,
)
from paintmq.broker.stores.rows import decode_record, encode_record
from paintmq.broker.stores.store import Collected, Entry, PayloadKey, Store
from paintmq.broker.stores.story import StoryLine
from paintmq.task import Buffer

__all__ = [
    "BrokerBooted",
    "Buffer",
    "Collected",
    "Entry",
    "PayloadKey",
    "Record",
    "Recovered",
    "SettingsChanged",
    "Store",
    "StoredTask",
    "StoryLine",
    "TaskAccepted",
    "TaskChanged",
    "TaskPurged",
    "decode_record",
    "encode_record",
    "keeps_inputs",
    "replay",
]
