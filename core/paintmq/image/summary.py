"""Pictures in a ``repr``: their shape and type, not their pixels."""

from collections.abc import Mapping


def summary_of(pictures: Mapping[str, object]) -> str:
    """Return the pictures by name: ``{'image': uint8 (64, 64, 3), 'mask': 512 bytes}``."""
    return "{" + ", ".join(f"{name!r}: {_one(each)}" for name, each in pictures.items()) + "}"


def _one(picture: object) -> str:
    shape = getattr(picture, "shape", None)
    if shape is not None and not isinstance(picture, memoryview):
        return f"{getattr(picture, 'dtype', 'array')} {tuple(shape)}"
    if isinstance(picture, bytes | bytearray | memoryview):
        return f"{memoryview(picture).nbytes:,} bytes"
    return repr(picture)
