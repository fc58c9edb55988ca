"""Files that hold somebody's pictures: for their owner alone, in whatever folder they are put."""

import os
from pathlib import Path


def opener(path: str, flags: int) -> int:
    """To be given to ``open``: a file that is made can be read and written by its owner alone."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def make(path: Path) -> None:
    """Make the file, empty, unless there is one.

    Raises:
        OSError: it cannot be made.
    """
    os.close(opener(str(path), os.O_RDWR | os.O_CREAT))
