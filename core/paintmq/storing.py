"""What a plugin needs to keep the journal in a place of its own: the interface and its values.

A store is chosen by ``[broker] journal = "scheme:..."`` and registered with
``paintmq_register_stores``; ``paintmq.testing.store_contract.StoreContract`` tests it.

``Store`` and the records are all that a store needs. For one in a database ``RowBatch`` makes a
commit's records into rows with checksums, ``checked_row`` and ``restore`` make rows into tasks
again, ``read_row`` and ``tell`` make a log into a task's story, and ``BlobFolder`` keeps large
payloads as files.
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
from paintmq.broker.stores.blobs import BlobFolder
from paintmq.broker.stores.restoring import checked_row, restore
from paintmq.broker.stores.row_batch import NewPayload, RowBatch, payload_check
from paintmq.broker.stores.rows import checksum, decode_record, encode_record
from paintmq.broker.stores.store import Collected, Entry, Leader, PayloadKey, Store
from paintmq.broker.stores.story import BOOTED, LogRow, StoryLine, read_row, tell
from paintmq.task import Buffer

__all__ = [
    "BOOTED",
    "BlobFolder",
    "BrokerBooted",
    "Buffer",
    "Collected",
    "Entry",
    "Leader",
    "LogRow",
    "NewPayload",
    "PayloadKey",
    "Record",
    "Recovered",
    "RowBatch",
    "SettingsChanged",
    "Store",
    "StoredTask",
    "StoryLine",
    "TaskAccepted",
    "TaskChanged",
    "TaskPurged",
    "checked_row",
    "checksum",
    "decode_record",
    "encode_record",
    "keeps_inputs",
    "payload_check",
    "read_row",
    "replay",
    "restore",
    "tell",
]
