"""Writing what a model made, wholly or not at all."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from paintmq.cli.failures import CommandError

if TYPE_CHECKING:
    from paintmq.client import Result


_TOLD_OTHERWISE = ("icc_profile", "note")
"""Outputs that are no files of their own: one goes into the images, one is shown."""


def write_result(result: "Result", output: Path) -> list[Path]:
    """Write the main output to this path and any other beside it; return what was written.

    Images keep the colour profile of what was sent, and nothing else that came with it: no place,
    no camera, no time.

    Raises:
        CommandError: the disk is full, the folder gone or not to be written to.
    """
    outputs = {name: value for name, value in result.outputs.items() if name not in _TOLD_OTHERWISE}
    main = "image" if "image" in outputs else next(iter(outputs))
    written = []
    for name, value in outputs.items():
        path = output if name == main else output.with_name(f"{output.stem}-{name}{output.suffix}")
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
        else:
            from paintmq.image.files import encode_image

            data = encode_image(value, path.suffix, icc_profile=result.icc_profile)
        write_whole(path, data)
        written.append(path)
    return written


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file in one step, so that half of it is never visible.

    Raises:
        CommandError: it cannot be written; an older file is still what it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from error
