"""Files that hold pictures of users: readable by their owner alone, in whatever folder they are."""

import os
from pathlib import Path


def opener(path: str, flags: int) -> int:
    """For ``open(opener=…)``: a file that it makes can be read and written by its owner alone."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def make(path: Path) -> None:
    """Make the file, empty, unless there is one.

    Raises:
        OSError: it cannot be made.
    """
    os.close(opener(str(path), os.O_RDWR | os.O_CREAT))
