"""What ``paintmq run`` is to do: which picture with which other inputs becomes which file.

Planning reads names alone; headers are read when a job's turn comes, with its pixels
(``job_inputs.py``). What is wrong with one picture is that picture's fault and stops no other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from paintmq.cli.failures import CommandError
from paintmq.cli.paired_files import PairedFiles
from paintmq.cli.picture_files import STANDARD_STREAM, Fault, Picture, find_pictures
from paintmq.cli.result_places import (
    NameLimits,
    Wishes,
    image_format,
    place_results,
    prepare_folders,
)
from paintmq.cli.shown_names import listed, shown


@frozen(kw_only=True)
class ImageJob:
    """One picture to work on."""

    image: Path
    others: Mapping[str, Path] = field(factory=dict[str, Path])
    """Further inputs by name, such as ``mask``."""
    output: Path
    format: str = ".png"
    """Of the result: an ending that ``encode_image`` knows."""


@frozen(kw_only=True)
class Plan:
    """The jobs of one command, and what it must tell before it begins."""

    jobs: Sequence[ImageJob]
    faults: Sequence[Fault] = ()
    """Pictures that cannot be done."""
    notes: Sequence[str] = ()

    @property
    def total(self) -> int:
        return len(self.jobs) + len(self.faults)


@frozen(kw_only=True)
class GivenInput:
    """An input beside the picture itself, as the command line has it."""

    name: str
    place: Path | None
    """A file for all pictures, or a folder with one for each; None: beside the pictures."""
    any_ending: bool = False
    """Whether it may be any file, rather than a picture."""
    remedy: str = ""
    """How to name it, for where it is not found."""

    @property
    def is_paired(self) -> bool:
        """Whether every picture has a file of its own."""
        if self.place is None:
            return True
        return self.place != STANDARD_STREAM and self.place.is_dir()


def plan_jobs(
    images: Sequence[Path],
    *,
    others: Sequence[GivenInput] = (),
    wishes: Wishes,
    recursive: bool = False,
    models: Sequence[str] = (),
    strict: bool = False,
) -> Plan:
    """Return the jobs, in the order of the command line and of names within a folder.

    ``images`` are files and folders. ``models`` are names by which results of earlier runs are
    told from pictures. ``strict`` refuses everything for one fault.

    Raises:
        CommandError: what is wrong with the command as a whole.
    """
    _check_given(images, others)
    found = find_pictures(
        images, recursive=recursive, models=models, apart=_folders(others, wishes)
    )
    notes = [*found.notes()]
    several = len(found.pictures) > 1 or any(each.root for each in found.pictures)
    pictures, faults = found.pictures, found.faults
    paired: dict[str, dict[Path, Path | str]] = {}
    for given in others:
        if given.is_paired:
            files = PairedFiles(given.name, given.place, given.any_ending, given.remedy)
            pictures, served = _without_inputs(pictures, files)
            paired[given.name] = files.of_all(pictures)
            notes += _pairing_note(given, paired[given.name], served)
        elif given.place is not None:
            pictures = _without_file(pictures, given.name, given.place)
    places, clashes = place_results(pictures, wishes, several=several)
    faults += clashes
    faulty, limits = {each.name for each in clashes}, NameLimits()
    fixed = {each.name: each.place for each in others if not each.is_paired and each.place}
    jobs = []
    for picture, place in zip(pictures, places, strict=True):
        if picture.path in faulty:
            continue
        inputs, reason = dict(fixed), limits.problem(place)
        for name, by_picture in paired.items():
            file = by_picture[picture.path]
            if isinstance(file, str):
                reason = file
            else:
                inputs[name] = file
        if reason:
            faults.append(Fault(picture.path, reason))
            continue
        jobs.append(
            ImageJob(
                image=picture.path, others=inputs, output=place, format=image_format(place, wishes)
            )
        )
    if strict and faults:
        raise CommandError("\n".join([*map(str, faults), "nothing was done: --strict"]))
    if jobs and (problems := prepare_folders([job.output for job in jobs], wishes)):
        raise CommandError("\n".join(problems))
    return Plan(jobs=jobs, faults=faults, notes=notes)


def _check_given(images: Sequence[Path], others: Sequence[GivenInput]) -> None:
    streams = [each for each in images if each == STANDARD_STREAM]
    streams += [each.place for each in others if each.place == STANDARD_STREAM]
    if len(streams) > 1:
        raise CommandError("standard input can be read only once: give - once")
    for given in others:
        if given.place is None or given.place == STANDARD_STREAM:
            continue
        try:
            is_there = given.place.exists()
        except OSError as error:
            raise CommandError(f"{shown(given.place)}: cannot be read: {error.strerror}") from error
        if not is_there:
            raise CommandError(f"{shown(given.place)}: no such file, for {given.name}")


def _folders(others: Sequence[GivenInput], wishes: Wishes) -> list[Path]:
    """Return the folders in which nothing is a picture to work on."""
    given = [each.place for each in others] + [wishes.output]
    return [
        each for each in given if each is not None and each != STANDARD_STREAM and each.is_dir()
    ]


def _without_inputs(pictures: list[Picture], files: PairedFiles) -> tuple[list[Picture], int]:
    """Leave out of the pictures what is an input of others; return how many were left out.

    A file that the user named as a picture stays one if it has such an input itself: a shell's
    ``*.png`` names the inputs, too.
    """
    serving = files.serving(pictures)
    if not serving:
        return pictures, 0
    left = [
        each
        for each in pictures
        if each.path not in serving or (each.root is None and files.has(each))
    ]
    return left, len(pictures) - len(left)


def _without_file(pictures: list[Picture], name: str, file: Path) -> list[Picture]:
    """Leave out of the pictures the file that is an input of all of them."""
    left = [each for each in pictures if not _is_same(each.path, file)]
    if pictures and not left:
        raise CommandError(f"{shown(file)}: is the picture and its {name}: name another file")
    return left


def _is_same(one: Path, other: Path) -> bool:
    if one.name != other.name or one == STANDARD_STREAM:
        return False
    try:
        return one.samefile(other)
    except OSError:
        return False


def _pairing_note(given: GivenInput, paired: Mapping[Path, Path | str], served: int) -> list[str]:
    files = [each for each in paired.values() if isinstance(each, Path)]
    if not files or (given.place is not None and not served):
        return []
    pictures = f"{len(paired):,} picture{'s' * (len(paired) != 1)}"
    names = listed([Path(each.name) for each in files], most=2)
    return [f"{pictures} with {len(files):,} {given.name}{'s' * (len(files) != 1)}: {names}"]
