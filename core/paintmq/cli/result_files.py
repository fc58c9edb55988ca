"""Writing what a model made: wholly or not at all, and never lost for the sake of its place.

Rule 1: a file is replaced in one step, and keeps its mode; a link is followed; a pipe or device is
written to as it is.
Rule 2: what the format cannot hold is written in one that can; what cannot be written where it was
to go is kept in the folder for temporary files. Either is told.
"""

import errno
import json
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from paintmq.cli.failures import FAILED, CommandError
from paintmq.cli.picture_files import STANDARD_STREAM, is_stream
from paintmq.cli.shown_names import shown
from paintmq.errors import PaintMQError
from paintmq.image.files import FORMATS_BY_SUFFIX, format_of

if TYPE_CHECKING:
    from paintmq.client import Result

LARGEST_SIDES = {"jpeg": 65_500, "webp": 16_383}
"""Pixels along a side of what a format can hold, where that is few."""

_JSON, _TEXT, _BINARY = ".json", ".txt", ".bin"

_NOT_WRITTEN = ("icc_profile", "note")
"""Outputs that get no file of their own: one goes into the images, one is printed."""

_OF_ALL = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.EIO, errno.ENODEV, errno.ENOTCONN, errno.ESTALE),  # a drive that was pulled out
)
"""Errors that every further file would meet as well."""


class UnwrittenError(CommandError):
    """A result could not be written to its place."""

    status = FAILED

    def __init__(self, text: str, *, is_of_all: bool = False) -> None:
        super().__init__(text)
        self.is_of_all = is_of_all
        """Whether further results would fare no better: the disk is full."""


@frozen(kw_only=True)
class Written:
    """The files of one result."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    """What the user should know of them."""


def import_encoders() -> None:
    """Import now what writing pictures needs, rather than when the first one is there."""
    with suppress(ImportError):  # whoever needs it says so
        import numpy as np  # noqa: F401
        from PIL import Image

        Image.preinit()


@frozen(kw_only=True)
class ResultWriter:
    """Writes results as the command line asks for them."""

    quality: int | None = None
    """Of JPEG and WebP, 1 to 100; None: high."""
    names_fixed: bool = False
    """Whether the user named the file, so that its ending stays whatever is in it."""
    _told: set[str] = field(factory=set[str], init=False)
    """Notes that are given once a run."""

    def write(self, result: "Result", output: Path, format: str, *, like: bytes = b"") -> Written:
        """Write the main output there and any other beside it, the main one last: where it is, all
        are.

        Images keep the colour profile of what was sent; the main one also its resolution and, if
        its colours allow, that it was grey: ``like`` is what the sent file held. Nothing else
        that came with it is kept: no place, no camera, no time.

        Raises:
            UnwrittenError: the disk is full, the folder gone or not to be written to.
        """
        outputs = {name: each for name, each in result.outputs.items() if name not in _NOT_WRITTEN}
        if not outputs:
            raise CommandError("the model gave back nothing but a note")
        main = "image" if "image" in outputs else next(iter(outputs))
        notes: list[str] = []
        written = []
        is_fixed = self.names_fixed
        if output == STANDARD_STREAM or is_stream(output):
            is_fixed = True
            outputs, left = {main: outputs[main]}, len(outputs) - 1
            if left:
                notes.append(f"{shown(output)}: {left} further outputs were left out")
        for name in sorted(outputs, key=lambda each: each == main):
            path = output
            if name != main:
                path = output.with_name(f"{output.stem}-{name}{output.suffix}")
            data, suffix = self._encoded(
                outputs[name], format, result, notes, like=like if name == main else b""
            )
            if suffix != format and not (name == main and is_fixed):
                path = path.with_suffix(suffix)
            write_whole(path, data)
            written.append(path)
        return Written(paths=tuple(written), notes=tuple(notes))

    def _encoded(
        self,
        value: Any,
        format: str,
        result: "Result",
        notes: list[str],
        *,
        like: bytes = b"",
    ) -> tuple[bytes, str]:
        """Return an output as the bytes of a file, and the ending that fits them."""
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value), fitting_suffix(bytes(value), format)
        from paintmq.image.files import encode_image, facts_of_file

        kind = FORMATS_BY_SUFFIX[format]
        height, width = value.shape[:2]
        if max(height, width) > LARGEST_SIDES.get(kind, 1 << 31):
            notes.append(
                f"{width} x {height} pixels are too many for {kind}, which holds"
                f" {LARGEST_SIDES[kind]:,} along a side: written as PNG"
            )
            format = ".png"
        elif kind == "jpeg" and value.ndim == 3 and value.shape[2] == 4:
            self._tell_once(
                "JPEG holds no transparency: laid on white (--format png keeps it)", notes
            )
        quality: Mapping[str, Any] = {} if self.quality is None else {"quality": self.quality}
        facts = facts_of_file(like)
        try:
            data = encode_image(
                value,
                format,
                icc_profile=result.icc_profile,
                dpi=facts.dpi,
                grey=facts.is_grey,
                **quality,
            )
        except (OSError, ValueError) as error:
            if format == ".png" or isinstance(error, PaintMQError):
                raise CommandError(str(error)) from error
            notes.append(f"{kind} cannot hold it ({error}): written as PNG")
            format = ".png"
            data = encode_image(value, format, icc_profile=result.icc_profile)
        return data, format

    def _tell_once(self, text: str, notes: list[str]) -> None:
        if text not in self._told:
            self._told.add(text)
            notes.append(text)


def fitting_suffix(data: bytes, wanted: str) -> str:
    """Return the ending for these bytes: ``wanted`` if it fits, else what they are."""
    kind = format_of(data)
    if kind is not None:
        if FORMATS_BY_SUFFIX.get(wanted) == kind:
            return wanted
        return next(suffix for suffix, each in FORMATS_BY_SUFFIX.items() if each == kind)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _BINARY
    try:
        json.loads(text)
    except ValueError:
        return _BINARY if "\0" in text else _TEXT
    return _JSON


def write_whole(path: Path, data: bytes) -> None:
    """Write the file in one step, so that half of it is never visible.

    Raises:
        UnwrittenError: it cannot be written; an older file is still what it was.
    """
    try:
        if path == STANDARD_STREAM:
            _write_to_stdout(data)
        elif is_stream(path):
            with path.open("wb", buffering=0) as stream:
                _write_all(stream.fileno(), data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except BrokenPipeError as error:
        raise UnwrittenError(f"{shown(path)}: its reader has gone") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnwrittenError(
            f"{shown(path)}: cannot be written: {reason}{_rescued(path, data)}",
            is_of_all=error.errno in _OF_ALL or _is_gone(path),
        ) from error


def _is_gone(path: Path) -> bool:
    """Return whether the folder, in which files could be made before, is no more."""
    try:
        return path != STANDARD_STREAM and not path.parent.is_dir()
    except OSError:
        return False


def _replace(path: Path, data: bytes) -> None:
    # Short, whatever the length of the name; in the same folder, so that it can be renamed.
    part = path.with_name(f".paintmq-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
        _take_over_mode(path, part)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _take_over_mode(old: Path, new: Path) -> None:
    try:
        state = old.stat()
    except OSError:
        return
    with suppress(OSError):
        new.chmod(stat.S_IMODE(state.st_mode))
    if (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):
            os.chown(new, state.st_uid, state.st_gid)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_to_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _rescued(path: Path, data: bytes) -> str:
    """Keep a result that has no place; return where, for the message."""
    is_file = path.suffix and path != STANDARD_STREAM
    name = path.name if is_file else f"result{fitting_suffix(data, '.png')}"
    try:
        folder = Path(tempfile.mkdtemp(prefix="paintmq-"))
        kept = folder / name
        kept.write_bytes(data)
    except OSError:
        return ""
    return f"; the result is kept as {shown(kept)}"
