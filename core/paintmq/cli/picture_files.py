"""Which pictures the files and folders on a command line stand for, and what was left out.

Rule 1: a folder is listed by names; only files whose ending says nothing are opened, for a few
bytes. Twenty thousand pictures are listed in a fraction of a second.
Rule 2: what is left out of a folder is counted and told, and one bad entry stops nothing else.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path

from attrs import define, field, frozen

from paintmq.cli.failures import CommandError
from paintmq.cli.shown_names import listed, shown, stem_of
from paintmq.image.files import is_readable
from paintmq.image.formats import (
    EXTRAS,
    FORMATS_BY_SUFFIX,
    READ_ONLY_BY_SUFFIX,
    ImageFormat,
    format_of,
)

STANDARD_STREAM = Path("-")
"""Stands for standard input, and for standard output."""

_LOOKED_AT = 5_000
"""Entries of sub-folders that are counted at most when they are left out."""


@frozen
class Picture:
    """One picture to work on."""

    path: Path
    folder: Path
    """The one it lies in."""
    root: Path | None = None
    """The folder that was given; None for a file that was named."""
    below: Path = Path()
    """The folders between ``root`` and the picture."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def stem(self) -> str:
        return stem_of(self.path.name)

    @property
    def is_stream(self) -> bool:
        """Whether it can be read only once: standard input, a pipe, a device."""
        return is_stream(self.path)


@frozen
class Fault:
    """Why one picture cannot be done."""

    name: Path
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.name)}: {self.reason}"


@define
class Found:
    """The pictures that were found, and what was not taken."""

    pictures: list[Picture] = field(factory=list[Picture])
    faults: list[Fault] = field(factory=list[Fault])
    others: list[Path] = field(factory=list[Path])
    """Files in folders that are no pictures by their names."""
    lacking: dict[str, list[Path]] = field(factory=dict[str, list[Path]])
    """Pictures of formats that need something installed, by what."""
    earlier: list[Path] = field(factory=list[Path])
    """Results of earlier runs."""
    below: Counter[str] = field(factory=Counter[str])
    """Pictures in sub-folders, where those were left out; at most as many as were looked at."""
    linked: list[Path] = field(factory=list[Path])
    """Links to folders, which are not followed."""

    def notes(self) -> Iterator[str]:
        """Return what was left out, a line each."""
        if self.others:
            yield (
                f"{_count(len(self.others), 'file')} left out, of no format that is read: "
                + listed([Path(each.name) for each in self.others])
            )
        for extra, paths in self.lacking.items():
            yield (
                f"{_count(len(paths), 'picture')} left out: pip install '{extra}' lets"
                f" {'them' if len(paths) > 1 else 'it'} be read: "
                + listed([Path(each.name) for each in paths])
            )
        if self.earlier:
            yield f"{_count(len(self.earlier), 'result')} of earlier runs left out: " + listed(
                [Path(each.name) for each in self.earlier]
            )
        if count := self.below["pictures"]:
            least = "at least " if self.below["unseen"] else ""
            yield (
                f"{least}{_count(count, 'picture')} in sub-folders left out: --recursive takes"
                f" {'them' if count > 1 else 'it'}"
            )
        if self.linked:
            yield f"{_count(len(self.linked), 'linked folder')} not followed: {listed(self.linked)}"


def find_pictures(
    given: Sequence[Path],
    *,
    recursive: bool = False,
    models: Collection[str] = (),
    apart: Collection[Path] = (),
) -> Found:
    """Return the pictures, in the order of the command line and of names within a folder.

    A file counts once, however often it is named. ``models`` tells the results of earlier runs
    (NAME-MODEL.png beside NAME.jpg) from pictures; ``apart`` are folders that are not looked into,
    such as the one for the results.
    """
    search = _Search(recursive, tuple(f"-{model}" for model in models), apart)
    for path in given:
        if path != STANDARD_STREAM and path.is_dir():
            search.enter_given(path)
        else:
            search.add_named(path)
    return search.found


def is_stream(path: Path) -> bool:
    """Return whether what is there can be read or written only once and in order."""
    if path == STANDARD_STREAM:
        return True
    try:
        return path.exists() and not path.is_file() and not path.is_dir() and not path.is_socket()
    except OSError:
        return False


def is_picture_name(name: str) -> bool:
    """Return whether a file's name has the ending of a format that can be read here."""
    return name[len(stem_of(name)) :].lower() in _readable_suffixes()


def is_result_name(name: str) -> bool:
    """Return whether a file's name has the ending of a format that can be written."""
    return name[len(stem_of(name)) :].lower() in FORMATS_BY_SUFFIX


@cache
def _readable_suffixes() -> frozenset[str]:
    readable = (suffix for suffix, kind in READ_ONLY_BY_SUFFIX.items() if not _lacks(kind))
    return frozenset([*FORMATS_BY_SUFFIX, *readable])


def readable_formats() -> list[str]:
    """Return the names of the formats that can be read here."""
    kinds = dict.fromkeys([*FORMATS_BY_SUFFIX.values(), *READ_ONLY_BY_SUFFIX.values()])
    return [kind.upper() for kind in kinds if not _lacks(kind)]


@cache
def _lacks(kind: ImageFormat) -> str:
    """Return what must be installed to read a format; empty when it can be read."""
    extra = EXTRAS.get(kind, "")
    return "" if not extra or is_readable(kind) else extra


@define
class _Search:
    recursive: bool
    own_endings: tuple[str, ...]
    apart: Collection[Path]
    found: Found = field(factory=Found, init=False)
    _seen: set[str] = field(factory=set[str], init=False)
    _suffixes: frozenset[str] = field(factory=_readable_suffixes, init=False)

    def add_named(self, path: Path) -> None:
        """Take a file that the user named, whatever it is called."""
        if path == STANDARD_STREAM:
            if not self._is_new("-"):
                raise CommandError("standard input can be read only once: give - once")
            self.found.pictures.append(Picture(path, path.parent))
            return
        try:
            if not path.exists():
                reason = "a link to nothing" if path.is_symlink() else "no such file"
                self.found.faults.append(Fault(path, reason))
                return
            if path.is_socket():
                self.found.faults.append(Fault(path, "not a file but a socket"))
                return
        except OSError as error:  # a folder that may not be entered, a name that is too long
            self.found.faults.append(Fault(path, f"cannot be read: {error.strerror}"))
            return
        if self._is_new(os.path.realpath(path.parent) + "/" + path.name):
            self.found.pictures.append(Picture(path, path.parent))

    def enter_given(self, folder: Path) -> None:
        real = os.path.realpath(folder)
        if not self._is_new(f"{real}/"):
            return
        before = len(self.found.pictures) + len(self.found.faults) + len(self.found.earlier)
        self._enter(folder, folder, real)
        after = len(self.found.pictures) + len(self.found.faults) + len(self.found.earlier)
        if before == after and self.found.below["pictures"] == 0:
            known = ", ".join(sorted(_readable_suffixes()))
            self.found.faults.append(Fault(folder, f"no images in this folder ({known})"))

    def _enter(self, folder: Path, root: Path, real: str) -> None:
        try:
            with os.scandir(folder) as entries:
                listed = sorted(
                    (each for each in entries if not each.name.startswith(".")),
                    key=lambda each: each.name,
                )
        except OSError as error:
            self.found.faults.append(Fault(folder, f"cannot be read: {error.strerror}"))
            return
        names = [each.name for each in listed]
        place = _Folder(folder, root, folder.relative_to(root), real, names)
        folders = []
        for entry in listed:
            if entry.is_dir():
                folders.append(entry)
            else:
                self._add_entry(entry, place)
        for entry in folders:
            self._add_folder(entry, folder, root, real)

    def _add_entry(self, entry: "os.DirEntry[str]", place: "_Folder") -> None:
        name = entry.name
        if not self._is_new(f"{place.real}/{name}"):
            return
        path = place.path / name
        suffix = name[len(stem_of(name)) :].lower()
        if suffix not in self._suffixes and not _is_nameless_picture(entry):
            kind = READ_ONLY_BY_SUFFIX.get(suffix)
            if kind is None:
                self.found.others.append(path)
            else:
                self.found.lacking.setdefault(_lacks(kind), []).append(path)
        elif not entry.is_file():
            reason = "a link to nothing" if entry.is_symlink() else "not a file"
            self.found.faults.append(Fault(path, reason))
        elif self._is_own_result(entry.name, place):
            self.found.earlier.append(path)
        else:
            self.found.pictures.append(Picture(path, place.path, place.root, place.below))

    def _is_own_result(self, name: str, place: "_Folder") -> bool:
        stem = stem_of(name)
        return stem.endswith(self.own_endings) and any(
            stem.endswith(ending) and stem.removesuffix(ending) in place.stems
            for ending in self.own_endings
        )

    def _add_folder(self, entry: "os.DirEntry[str]", folder: Path, root: Path, real: str) -> None:
        path = folder / entry.name
        if any(_is_same(path, other) for other in self.apart):
            return
        if not self.recursive:
            self._count_below(path)
        elif entry.is_symlink():
            self.found.linked.append(path)
        else:
            self._enter(path, root, f"{real}/{entry.name}")

    def _count_below(self, folder: Path) -> None:
        """Count the pictures that are left out, as far as that is quick."""
        below = self.found.below
        for _, folders, files in os.walk(folder):
            folders[:] = [each for each in folders if not each.startswith(".")]
            for name in files:
                if below["seen"] >= _LOOKED_AT:
                    below["unseen"] += 1
                    return
                below["seen"] += 1
                below["pictures"] += is_picture_name(name) and not name.startswith(".")

    def _is_new(self, key: str) -> bool:
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new


@frozen(slots=False)
class _Folder:
    """A folder whose entries are looked at."""

    path: Path
    root: Path
    below: Path
    real: str
    """Its path without links."""
    _names: Collection[str]

    @cached_property
    def stems(self) -> Collection[str]:
        """Return the names in it without endings: asked for where results of earlier runs lie."""
        return frozenset(map(stem_of, self._names))


def _is_nameless_picture(entry: "os.DirEntry[str]") -> bool:
    """Return whether a file without an ending is a picture by its first bytes."""
    if "." in entry.name:
        return False
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as file:  # noqa: PTH123 -- an entry, not a Path
            return format_of(file.read(32)) is not None
    except OSError:
        return False


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
