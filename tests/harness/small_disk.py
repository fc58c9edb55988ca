"""Real file systems that are small, run full, turn read-only or fail: for tests of the journal.

Mounting takes rights that a test may not have; it is skipped then, and says so.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import frozen

_EXT4_SHUTDOWN = 0x8004587D
"""``EXT4_IOC_SHUTDOWN``: from now on the file system fails every write, as a lost device does."""
_WITHOUT_FLUSH = 2
_MIB = 1024 * 1024


@frozen
class SmallDisk:
    """A mounted file system of a few megabytes."""

    path: Path

    def fill(self, *, leave: int = 0) -> Path:
        """Write a file until no more than ``leave`` bytes are free; remove it to make room."""
        filler = self.path / "filler"
        # Without a buffer, so that the last byte is on the disk when this returns.
        with filler.open("ab", buffering=0) as file:
            for step in (64 * 1024, 4096):
                with suppress(OSError):
                    while _free(self.path) - leave >= step:
                        file.write(bytes(step))
            if not leave:
                with suppress(OSError):
                    while True:
                        file.write(bytes(512))
        return filler

    def use_up_inodes(self, *, leave: int = 0) -> list[Path]:
        """Make empty files until no more than ``leave`` inodes are free; remove them to go on."""
        made: list[Path] = []
        while os.statvfs(self.path).f_favail > leave:
            made.append(self.path / f"inode-{len(made)}")
            made[-1].touch()
        return made

    def fail(self) -> None:
        """Let every further write end in an I/O error; an ext4 file system only."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def turn_read_only(self) -> None:
        """Turn read-only in the middle of everything, as ext4 does after an error it found."""
        _mount("-o", "remount,abort", str(self.path))


@contextmanager
def small_tmpfs(path: Path, *, size: int = 16 * _MIB, inodes: int = 1000) -> Iterator[SmallDisk]:
    """Mount a file system in memory at this new folder."""
    path.mkdir()
    _mount_or_skip("-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "tmpfs", str(path))
    with _unmounted(path):
        yield SmallDisk(path)


@contextmanager
def small_ext4(path: Path, *, size: int = 16 * _MIB) -> Iterator[SmallDisk]:
    """Mount a file system on a device that can fail at this new folder."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4")
    image = path.with_name(path.name + ".image")
    with image.open("wb") as file:
        file.truncate(size)
    make = ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)]
    subprocess.run(make, check=True, capture_output=True, timeout=30)
    path.mkdir()
    _mount_or_skip("-o", "loop,errors=remount-ro", str(image), str(path))
    with _unmounted(path):
        yield SmallDisk(path)


def _free(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def _mount(*arguments: str) -> str:
    """Return why it failed; empty when it did not."""
    done = subprocess.run(
        ["mount", *arguments], check=False, capture_output=True, text=True, timeout=30
    )
    return done.stderr if done.returncode else ""


def _mount_or_skip(*arguments: str) -> None:
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    if objection := _mount(*arguments):
        pytest.skip(f"this test may not mount a file system: {objection.strip()}")


@contextmanager
def _unmounted(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        # Lazily: a test that failed may have left a file open there.
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True, timeout=30)
