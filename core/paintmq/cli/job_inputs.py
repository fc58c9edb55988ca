"""The bytes of a job's inputs, read when its turn comes: once, and checked by their headers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from attrs import define, field, frozen

from paintmq.cli.failures import CommandError
from paintmq.cli.picture_files import STANDARD_STREAM, is_stream, readable_formats
from paintmq.cli.result_files import LARGEST_SIDES
from paintmq.cli.shown_names import shown
from paintmq.errors import InvalidInputError
from paintmq.image.files import FORMATS_BY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paintmq.cli.image_jobs import ImageJob
    from paintmq.config import Limits


@frozen
class LoadedJob:
    """A job whose inputs have been read."""

    job: "ImageJob"
    inputs: "Mapping[str, bytes]"


@define
class InputReader:
    """Reads the inputs of jobs. ``kinds`` are those of the model's inputs, where it is known."""

    limits: "Limits"
    kinds: "Mapping[str, str]" = field(factory=dict[str, str])
    page: int | None = None
    """Of pictures whose files hold several, counted from 1; None: those are refused."""
    _shared: dict[Path, bytes] = field(factory=dict[Path, bytes], init=False)
    """What one file for all pictures holds."""

    def load(self, job: "ImageJob", *, shared: "Mapping[str, Path]") -> LoadedJob:
        """Read the inputs of a job; ``shared`` are files that later jobs need again.

        Raises:
            CommandError: one cannot be read or used; the text does not name the picture itself.
        """
        image = self._read(job.image)
        if self.page is not None:
            image = self._page(image, self.page)
        width, height = self._checked_size(image, job.image, name="image")
        self._check_format(job, width, height)
        inputs = {"image": image}
        for name, path in job.others.items():
            try:
                if shared.get(name) == path:
                    if path not in self._shared:
                        self._shared[path] = self._read(path)
                    data = self._shared[path]
                else:
                    data = self._read(path)
                self._check_other(name, data, path, (width, height), job)
            except CommandError as error:
                raise CommandError(f"{name} {shown(path)}: {error}") from error
            inputs[name] = data
        return LoadedJob(job, inputs)

    def _check_other(
        self, name: str, data: bytes, path: Path, size: tuple[int, int], job: "ImageJob"
    ) -> None:
        kind = self.kinds.get(name, "mask" if name == "mask" else "data")
        if kind == "data":
            return
        width, height = self._checked_size(data, path, name=name)
        # A photograph may lie on its side until its orientation is applied, by the worker.
        if kind == "mask" and sorted((width, height)) != sorted(size):
            raise CommandError(
                f"the {name} is {width} x {height} pixels, but {shown(job.image)} is"
                f" {size[0]} x {size[1]}"
            )

    def _read(self, path: Path) -> bytes:
        """Return what a file or stream holds.

        Raises:
            CommandError: it cannot be read, is empty or too large.
        """
        most = self.limits.max_payload_bytes
        try:
            if path == STANDARD_STREAM:
                data = _read_at_most(_standard_input(), most)
            elif is_stream(path):
                with path.open("rb") as file:
                    data = _read_at_most(file, most)
            else:
                size = path.stat().st_size
                data = b"" if size > most else path.read_bytes()
                if size > most:
                    raise CommandError(_too_large(size, most))
        except OSError as error:
            raise CommandError(f"cannot be read: {error.strerror}") from error
        if not data:
            raise CommandError("the file is empty")
        return data

    def _page(self, data: bytes, number: int) -> bytes:
        from paintmq.image.pages import page_of_file

        try:
            return page_of_file(data, number, self.limits)
        except InvalidInputError as error:
            raise CommandError(_unreadable(data, str(error).removeprefix("image: "))) from error

    def _checked_size(self, data: bytes, path: Path, *, name: str) -> tuple[int, int]:
        from paintmq.image.files import header_of_file

        try:
            width, height = header_of_file(data, name=name)
        except InvalidInputError as error:
            reason = _unreadable(data, str(error).removeprefix(f"{name}: "))
            if name == "image":
                reason = reason.replace("send one at a time", "--page 1 takes the first")
            raise CommandError(reason) from error
        limits, beyond = self.limits, []
        if width * height > limits.max_pixels:
            beyond.append(f"{limits.max_pixels:,} are allowed (limits.max_pixels)")
        if max(width, height) > limits.max_side:
            beyond.append(f"a side may have {limits.max_side:,} at most (limits.max_side)")
        if beyond:
            count = f"{width} x {height} is {width * height:,} pixels"
            raise CommandError(f"{count}; {', and '.join(beyond)}")
        return width, height

    def _check_format(self, job: "ImageJob", width: int, height: int) -> None:
        most = LARGEST_SIDES.get(FORMATS_BY_SUFFIX.get(job.format, ""), 0)
        if most and max(width, height) > most:
            raise CommandError(
                f"{width} x {height}: {job.format[1:]} files hold {most:,} pixels along a side;"
                " use --format png or tiff"
            )


def _read_at_most(file: BinaryIO, most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise CommandError(_too_large(len(data), most))
    return data


def _too_large(size: int, most: int) -> str:
    return f"{size:,} bytes; {most:,} are allowed: raise limits.max_payload_bytes"


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise CommandError("standard input is closed")
    if sys.stdin.isatty():
        raise CommandError("standard input is a terminal: pipe a picture into it")
    return sys.stdin.buffer


def _unreadable(data: bytes, reason: str) -> str:
    from paintmq.image.formats import format_of

    kind = format_of(data)
    if kind is None:
        return f"not a readable image ({', '.join(readable_formats())})"
    if reason.endswith(" is damaged"):
        return f"not a readable image: it begins as {kind.upper()}, and its header is damaged"
    return reason
