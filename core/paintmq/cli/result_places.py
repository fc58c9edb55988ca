"""Where each result goes, and whether a file can be written there: settled before any work."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import field, frozen

from paintmq.cli.failures import CommandError
from paintmq.cli.picture_files import (
    STANDARD_STREAM,
    Fault,
    Picture,
    is_result_name,
    is_stream,
)
from paintmq.cli.shown_names import shown
from paintmq.image.files import FORMATS_BY_SUFFIX

FORMAT_CHOICES = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "same")
"""What --format takes."""

_LONGEST_NAME = 255
"""Bytes, where the system does not say."""

_SHORT_NAME = 140
"""Bytes that every system allows: eCryptfs has the least."""

_SCARCE = 1024 * 1024
"""Bytes that must be free where results go."""


@frozen(kw_only=True)
class Wishes:
    """What the command line says of the results."""

    output: Path | None = None
    """A file, a folder, or standard output; None: beside the pictures."""
    to_folder: bool = False
    """``output`` is a folder whatever it is called: it was written with a slash behind."""
    format: str = ""
    """One of FORMAT_CHOICES; empty: what ``output`` says, else PNG."""
    model: str = ""
    """Results beside the pictures are named after it."""
    make_folders: bool = False
    ask: Callable[[str], bool] = field(default=lambda _: False)
    """Asks the user, where there is one at a terminal."""


def place_results(
    pictures: Sequence[Picture], wishes: Wishes, *, several: bool
) -> tuple[list[Path], list[Fault]]:
    """Return the place of every picture's result, and which of them cannot have one.

    Pictures whose results would meet in one place keep more of their own names: the folders that
    tell them apart, or their endings.

    Raises:
        CommandError: ``output`` cannot work for any of them.
    """
    _check(wishes, several=several)
    placing = _Placing(wishes, several=several)
    places = [placing.place(each) for each in pictures]
    if wishes.output is not None and several:
        places = _told_apart(pictures, places, lambda each: _by_folders(each, pictures, wishes))
    places = _told_apart(pictures, places, lambda group: _by_endings(group, places))
    return places, [*_clashes(pictures, places)]


def suffix_for(picture: Picture, wishes: Wishes) -> str:
    """Return the ending, with its dot, of a result that is not named by ``output``."""
    if wishes.format == "same" and is_result_name(picture.name):
        return picture.path.suffix
    return f".{wishes.format}" if wishes.format not in ("", "same") else ".png"


def image_format(place: Path, wishes: Wishes) -> str:
    """Return the format of the file there: an ending that ``encode_image`` knows."""
    suffix = os.path.splitext(place)[1].lower()  # noqa: PTH122 -- of many
    if suffix in FORMATS_BY_SUFFIX:
        return suffix
    return f".{wishes.format}" if wishes.format not in ("", "same") else ".png"


def prepare_folders(places: Sequence[Path], wishes: Wishes) -> list[str]:
    """Make the folders for the results and check that files can be written there.

    One new folder is made without a word. Several missing levels look like a typing error: they
    are made if the user says so, by ``wishes``.

    Returns:
        Why the folders cannot be used, a line each.
    """
    problems = []
    for folder in _folders_of(places):
        try:
            if refusal := _missing_levels(folder, places, wishes):
                problems.append(refusal)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            if _free_bytes(folder) < _SCARCE:
                problems.append(f"{shown(folder)}: the disk is full; make room, or name another -o")
        except (FileExistsError, NotADirectoryError):
            problems.append(f"{shown(folder)}: is a file, not a folder; name another with -o")
        except OSError as error:
            problems.append(
                f"{shown(folder)}: cannot be written to: {error.strerror}; name another with -o"
            )
    return problems


def _folders_of(places: Sequence[Path]) -> list[Path]:
    """Return the folders in which files are to be made; many files lie in one."""
    by_folder: dict[str, list[Path]] = {}
    for place in places:
        by_folder.setdefault(os.path.dirname(place), []).append(place)  # noqa: PTH120 -- of many
    return sorted(each[0].parent for each in by_folder.values() if not all(map(is_stream, each)))


class NameLimits:
    """How long names may be in the folders of results; each folder is asked once."""

    def __init__(self) -> None:
        self._longest: dict[Path, int] = {}

    def problem(self, place: Path) -> str:
        """Return why a file of this name cannot exist there; empty when it can."""
        name = place.name
        if len(name) * 4 <= _SHORT_NAME:
            return ""
        size, folder = len(os.fsencode(name)), place.parent
        if folder not in self._longest:
            self._longest[folder] = _longest_name(folder)
        longest = self._longest[folder]
        if size <= longest:
            return ""
        return (
            f"its result's name would have {size} bytes, and {longest} are possible there; name"
            " the result with -o"
        )


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return _LONGEST_NAME


# ---- what was asked for ------------------------------------------------------------------------


def _check(wishes: Wishes, *, several: bool) -> None:
    output = wishes.output
    if wishes.format and wishes.format not in FORMAT_CHOICES:
        raise CommandError(
            f"--format {wishes.format}: use one of png, jpg, webp, tiff, or same for the format of"
            " each picture"
        )
    if output is None or output.is_dir():
        return
    if wishes.to_folder:
        if output.exists():
            raise CommandError(f"-o {shown(output)}/: is a file, not a folder")
        return
    suffix = output.suffix.lower()
    if output == STANDARD_STREAM or is_stream(output):
        if several:
            raise CommandError(f"-o {shown(output)}: one result can go there, not several")
        return
    known = is_result_name(output.name)
    if several:
        if known:
            raise CommandError(
                f"-o {shown(output)}: several images need a folder to go to, not one file"
            )
        if output.exists():
            raise CommandError(f"-o {shown(output)}: is a file, and several images need a folder")
        return
    if not suffix and output.exists():
        raise CommandError(
            f"-o {shown(output)}: is a file without an ending; name a folder, or a file such as"
            " result.png"
        )
    if suffix and not known:
        endings = ", ".join(FORMATS_BY_SUFFIX)
        raise CommandError(f"-o {shown(output)}: cannot write {suffix} files; use one of {endings}")
    told = _kind(f".{wishes.format}")
    if known and told and told != _kind(suffix):
        raise CommandError(
            f"-o {shown(output)} and --format {wishes.format} contradict each other: leave out one"
        )


def _kind(suffix: str) -> str:
    return FORMATS_BY_SUFFIX.get(suffix, "")


class _Placing:
    """Places results one by one; what is the same for many of them is found out once."""

    def __init__(self, wishes: Wishes, *, several: bool) -> None:
        self._wishes = wishes
        output = wishes.output
        self._fixed = output if output is not None and _is_one_place(output) else None
        if output is not None and not several and is_named(wishes):
            self._fixed = output
        self._folders: dict[Path, Path] = {}

    def place(self, picture: Picture) -> Path:
        wishes = self._wishes
        if self._fixed is not None:
            return self._fixed
        suffix = suffix_for(picture, wishes)
        if wishes.output is None:
            if picture.is_stream:
                raise CommandError(
                    f"{shown(picture.path)}: say where its result goes: -o FILE or -o -"
                )
            return picture.folder / f"{picture.stem}-{wishes.model}{suffix}"
        folder = self._folders.get(picture.below)
        if folder is None:
            folder = self._folders[picture.below] = wishes.output / picture.below
        stem = "stdin" if picture.path == STANDARD_STREAM else picture.stem
        return folder / f"{stem}{suffix}"


def is_named(wishes: Wishes) -> bool:
    """Return whether ``output`` names a file rather than a folder."""
    output = wishes.output
    if output is None or wishes.to_folder:
        return False
    return output.suffix != "" and not output.is_dir()


def _is_one_place(output: Path) -> bool:
    return output == STANDARD_STREAM or is_stream(output)


# ---- results that would meet -------------------------------------------------------------------


def _told_apart(
    pictures: Sequence[Picture],
    places: list[Path],
    rename: Callable[[dict[int, Picture]], dict[int, Path]],
) -> list[Path]:
    """Return the places, those that several pictures share renamed."""
    numbers: dict[str, list[int]] = {}  # by text, which is made once; a Path is slow to compare
    for number, place in enumerate(places):
        numbers.setdefault(str(place), []).append(number)
    if len(numbers) == len(places):
        return places
    told = list(places)
    for shared in numbers.values():
        if len(shared) > 1:
            group = {number: pictures[number] for number in shared}
            for number, place in rename(group).items():
                told[number] = place
    return told


def _by_folders(
    group: dict[int, Picture], pictures: Sequence[Picture], wishes: Wishes
) -> dict[int, Path]:
    folders = {number: os.path.realpath(each.path.parent) for number, each in group.items()}
    if len(set(folders.values())) == 1 or wishes.output is None:
        return {}
    common = os.path.commonpath(list(folders.values()))
    return {
        number: wishes.output
        / os.path.relpath(folders[number], common)
        / f"{each.stem}{suffix_for(each, wishes)}"
        for number, each in group.items()
    }


def _by_endings(group: dict[int, Picture], places: Sequence[Path]) -> dict[int, Path]:
    return {
        number: places[number].with_name(places[number].name.replace(each.stem, each.name, 1))
        for number, each in group.items()
    }


def _clashes(pictures: Sequence[Picture], places: Sequence[Path]) -> list[Fault]:
    """Name results that would overwrite one another, or a picture that is still to be read."""
    real = _RealFolders()
    sources = {real.path_of(str(each.path)): each.path for each in pictures}
    taken: dict[str, Path] = {}
    faults = []
    if len(places) == 1 and is_stream(places[0]):
        return []
    for picture, place in zip(pictures, places, strict=True):
        target = real.path_of(str(place))
        if target in sources:
            reason = "the result would overwrite an input; name another place with -o"
            faults.append(Fault(picture.path, f"{shown(place)}: {reason}"))
        elif target in taken:
            reason = f"its result and that of {shown(taken[target])} would both be {shown(place)}"
            faults.append(Fault(picture.path, reason))
        taken.setdefault(target, picture.path)
    return faults


class _RealFolders:
    """Resolves the folders of many files, each once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def path_of(self, file: str) -> str:
        folder, _, name = file.rpartition("/")
        if folder not in self._known:
            self._known[folder] = os.path.realpath(os.path.dirname(file) or ".")  # noqa: PTH120
        return f"{self._known[folder]}/{name}"


# ---- folders -----------------------------------------------------------------------------------


def _missing_levels(folder: Path, places: Sequence[Path], wishes: Wishes) -> str:
    """Return why the folder is not made, empty when it may be: it is there, or but one level."""
    below = folder
    if wishes.output is not None and wishes.output in folder.parents:
        below = wishes.output
    missing = []
    while not below.exists() and below != below.parent:
        missing.append(below)
        below = below.parent
    if len(missing) < 2 or wishes.make_folders:
        return ""
    question = f"{shown(missing[0])} is not there, nor is {shown(missing[-1])}; make these folders?"
    if wishes.ask(question):
        return ""
    return f"{shown(missing[-1])}: no such folder; make it, or let --make-folders do so"


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize if state.f_blocks else _SCARCE
