"""What PaintMQ finds through the entry point: a store for ``journal = "diary:FOLDER"``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterStore
    from paintmq.storing import Store


def make_diary(journal: str) -> "Store":
    """Return the store in the folder after the colon, not opened yet."""
    from pathlib import Path

    # Imported when a broker opens it: clients and commands need only its name.
    from paintmq_diary.store import Diary

    return Diary(Path(journal.partition(":")[2]))


def paintmq_register_stores(register: "RegisterStore") -> None:
    register("diary", make_diary)
