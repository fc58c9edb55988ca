from pathlib import Path

import pytest

from paintmq.broker.stores import PayloadKey
from paintmq.broker.stores.memory import MemoryStore
from paintmq.task import TaskId
from paintmq.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    def make(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()


def test_it_says_that_payloads_must_be_kept_elsewhere() -> None:
    with pytest.raises(LookupError):
        MemoryStore().fetch(PayloadKey(TaskId("0" * 32), "in", "image"))
