"""What a weight file is by its first and last bytes: a pointer, a web page, half a download.

A few kilobytes are read, whatever the size of the file, and nothing in it is run.
"""

import json
import struct
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

Kind: TypeAlias = Literal["safetensors", "zip", "other"]

_HEAD = 512
_LONGEST_HEADER = 100 * 1024 * 1024
"""Bytes of a safetensors header; the format allows no more."""
_ZIP_TAIL = 65_557
"""Bytes at the end of a zip archive within which its directory's end must lie."""


def weight_objection(path: Path) -> str:
    """Return why the file cannot hold weights; empty when it may. A folder is not looked at.

    The text goes on from the file's name: "is empty".
    """
    try:
        if path.is_dir():
            return ""
        size = path.stat().st_size
        with path.open("rb") as file:
            return _objection(file, size)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def kind_of(path: Path) -> Kind:
    """Return what the file is by its bytes, whatever its ending says."""
    try:
        with path.open("rb") as file:
            return _kind(file.read(_HEAD))
    except OSError:
        return "other"


def _kind(head: bytes) -> Kind:
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if len(head) > 9 and head[8:9] == b"{":
        return "safetensors"
    return "other"


def _objection(file: BinaryIO, size: int) -> str:
    head = file.read(_HEAD)
    if not head:
        return "is empty: download it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the file itself: run `git lfs pull`, or download the file"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not the file itself: save what its download link leads to"
    match _kind(head):
        case "safetensors":
            return _safetensors_objection(file, head, size)
        case "zip":
            file.seek(max(0, size - _ZIP_TAIL))
            if b"PK\x05\x06" not in file.read():
                return "is cut short: its end is missing; download it again"
        case "other":
            pass
    return ""


def _safetensors_objection(file: BinaryIO, head: bytes, size: int) -> str:
    (length,) = struct.unpack("<Q", head[:8])
    if length > _LONGEST_HEADER:
        return "is damaged: its header has an impossible length; download it again"
    if 8 + length > size:
        return f"has {size:,} bytes, fewer than its header alone: download it again"
    file.seek(8)
    try:
        header = json.loads(file.read(length))
        ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
        announced = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "is damaged: its header cannot be read; download it again"
    if size < announced:
        return (
            f"has {size:,} of the {announced:,} bytes that its header announces: it was cut short"
        )
    return "holds no tensors" if not ends else ""
