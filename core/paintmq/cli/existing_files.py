"""What is at a result's place already, and what becomes of it."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from paintmq.cli.picture_files import STANDARD_STREAM, is_stream
from paintmq.cli.shown_names import shown
from paintmq.image.files import format_of

if TYPE_CHECKING:
    from paintmq.cli.image_jobs import ImageJob

Existing: TypeAlias = Literal["replace", "skip", "overwrite"]
"""What becomes of a file at a result's place: pictures are replaced, any file is kept, or any is
replaced."""


def objection_to_target(job: "ImageJob", existing: Existing) -> str | None:
    """Return why the job's result cannot go to its place, empty when it can; None: it is there
    already, and is to stay.
    """
    place = job.output
    if place == STANDARD_STREAM or is_stream(place):
        return ""
    if existing == "skip" and _is_filled(place):
        return None
    if not is_there(place):
        return ""
    if place.is_dir():
        return f"{shown(place)} is a folder"
    if reason := _objection_to_replacing(place, overwrite=existing == "overwrite"):
        return reason
    if any(_is_same(place, path) for path in (job.image, *job.others.values())):
        return f"{shown(place)}: the result would overwrite an input; name another place"
    return ""


def is_there(path: Path) -> bool:
    """Return whether something is there; where one may not look, nothing is."""
    try:
        return path.exists()
    except OSError:
        return False


def _objection_to_replacing(path: Path, *, overwrite: bool) -> str:
    """Return why the file that is there must not be replaced; empty when it may be."""
    if overwrite:
        return ""
    try:
        with path.open("rb") as file:
            state, head = os.fstat(file.fileno()), file.read(32)
    except OSError as error:
        return f"{shown(path)} is there and cannot be read: {error.strerror}"
    if head and format_of(head) is None:
        return f"{shown(path)} is there and is not a picture; --overwrite replaces it"
    if not state.st_mode & stat.S_IWUSR:
        return f"{shown(path)} is there and is read-only; --overwrite replaces it"
    return ""


def _is_filled(path: Path) -> bool:
    """Return whether a result is there: ours are never empty."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
