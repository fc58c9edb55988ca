"""The diary keeps what every store must keep, and stays a text anybody can read."""

import json
from pathlib import Path

import pytest
from paintmq_diary.manifest import make_diary
from paintmq_diary.store import Diary

from paintmq.errors import StoreError
from paintmq.testing import PluginContract
from paintmq.testing.store_contract import OpenStore, StoreContract, accepted


class TestPlugin(PluginContract):
    plugin = "paintmq_diary.manifest"


class TestDiary(StoreContract):
    """PaintMQ's own tests for stores, inherited."""

    def make(self, tmp_path: Path) -> Diary:
        return Diary(tmp_path / "diary")


def test_a_line_a_record_in_words(tmp_path: Path) -> None:
    store = make_diary(f"diary:{tmp_path}")
    opened = OpenStore(store)
    opened.write(accepted("1", b"pixels"), b"pixels")
    store.close()

    (line,) = (tmp_path / "diary.jsonl").read_text("utf-8").splitlines()
    sequence, at, record = line.split(" ", 2)
    assert (sequence, at) == ("1", "1000.0")
    assert json.loads(record)["record"] == "TaskAccepted"


def test_a_damaged_diary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "diary.jsonl").write_text("1 1000.0 {}\n", encoding="utf-8")

    with pytest.raises(StoreError, match="this is no record"):
        Diary(tmp_path).open(lambda: None)


def test_a_line_that_a_killed_broker_did_not_finish_is_taken_off(tmp_path: Path) -> None:
    for number in ("1", "2"):
        store = Diary(tmp_path)
        opened = OpenStore(store)
        opened.write(accepted(number))
        store.close()
        with (tmp_path / "diary.jsonl").open("ab") as file:
            file.write(b'3 1000.0 {"rec')

    again = Diary(tmp_path)
    assert again.open(lambda: None).durable_sequence == 2
    again.close()
