"""Checksums of files that may have gigabytes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from paintmq.units import MIB

Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes in total; 0 in total when it is not known."""

_CHUNK = MIB


def checksums(path: Path, progress: Progress | None = None) -> tuple[str, str]:
    """Return the SHA-256 and the MD5 of a file, hexadecimal."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    total, done = path.stat().st_size, 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            done += len(chunk)
            if progress:
                progress(done, total)
    return sha256.hexdigest(), md5.hexdigest()
