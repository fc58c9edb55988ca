"""The folder of large payloads that all brokers share, and the proof that it is the right one."""

import errno
import os
from pathlib import Path

from paintmq.errors import StoreError
from paintmq.storing import BlobFolder
from paintmq_plugins.postgres.sessions import Connection

MARK = "paintmq-journal"
"""The file that says which journal the folder belongs to: one that is not mounted has none."""


def open_folder(path: str, connection: Connection, *, sync: bool) -> BlobFolder | None:
    """Return the folder; None if there is none, as all payloads are in the database.

    Raises:
        StoreError: it is not this journal's, not mounted, or not named although it is needed.
    """
    mine, needed = _known(connection)
    setting = "[plugins.settings.postgres] payloads"
    if not path:
        if needed:
            raise StoreError(f"{needed} payloads are in a folder: name it with {setting}")
        return None
    folder = Path(path).expanduser()
    try:
        theirs = _marked(folder / MARK, mine if not needed else "")
    except OSError as error:
        text = os.strerror(error.errno or errno.EIO)
        raise StoreError(f"{setting} = {path!r} cannot be used: {text}") from error
    if theirs != mine:
        reason = "belongs to another journal" if theirs else "is not the one: is it mounted?"
        raise StoreError(
            f"{setting} = {path!r} {reason} ({needed} payloads of this journal are in files)"
        )
    return BlobFolder(folder / "blobs", sync=sync)


def _known(connection: Connection) -> tuple[str, int]:
    """Return which journal this is, and how many payloads are files."""
    row = connection.execute(
        "SELECT store, (SELECT count(*) FROM payload WHERE data IS NULL) FROM about"
    ).fetchone()
    assert row is not None
    return str(row[0]), int(row[1])


def _marked(mark: Path, new: str) -> str:
    """Return what the mark says; make one if there is none and it is known what to write."""
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if new:
        try:
            descriptor = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(new)
    return mark.read_text("utf-8").strip() if mark.exists() else ""
