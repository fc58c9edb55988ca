"""What ``paintmq run`` is to do: which image with which mask becomes which file, all checked first.

Everything that can be seen from names and headers is refused before anything is started, all
problems at once. Pixels are decoded by workers alone.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from paintmq.cli.failures import CommandError
from paintmq.config import Limits
from paintmq.image.files import FORMATS_BY_SUFFIX

_SHOWN_PROBLEMS = 10


@frozen(kw_only=True)
class ImageJob:
    """One image to work on."""

    image: Path
    mask: Path | None
    output: Path


def plan_jobs(
    images: Sequence[Path],
    *,
    mask: Path | None,
    output: Path | None,
    model: str,
    limits: Limits,
) -> list[ImageJob]:
    """Return the jobs, in the order of the command line and of names within a folder.

    ``images`` are files and folders. ``mask`` is one file for all of them, or a folder with a mask
    for each, found by its name. ``output`` is a file for a single image, else a folder; by default
    the results lie beside the images, named after the model.

    Raises:
        CommandError: every problem found, a line each.
    """
    files = [file for given in images for file in _files_in(given)]
    several = len(files) > 1 or any(given.is_dir() for given in images)
    jobs = [
        ImageJob(
            image=file,
            mask=_mask_for(file, mask),
            output=_output_for(file, output, model=model, several=several),
        )
        for file in files
    ]
    problems = [
        *_header_problems(jobs, limits),
        *_clashes(jobs),
        *_folder_problems({job.output.parent for job in jobs}),
    ]
    if problems:
        hidden = len(problems) - _SHOWN_PROBLEMS
        more = [f"… and {hidden} more of this kind"] if hidden > 0 else []
        raise CommandError("\n".join([*problems[:_SHOWN_PROBLEMS], *more]))
    return jobs


def _files_in(given: Path) -> list[Path]:
    if given.is_dir():
        found = sorted(each for each in given.iterdir() if _is_image_name(each))
        if not found:
            raise CommandError(
                f"{given}: no images in this folder ({', '.join(FORMATS_BY_SUFFIX)})"
            )
        return found
    _check_file(given)
    return [given]


def _is_image_name(path: Path) -> bool:
    known = path.suffix.lower() in FORMATS_BY_SUFFIX
    return known and not path.name.startswith(".") and path.is_file()


def _check_file(path: Path) -> None:
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    if not path.is_file():
        raise CommandError(f"{path}: not a file")


def _mask_for(image: Path, mask: Path | None) -> Path | None:
    """Return the image's mask: of the same name but for its ending, or with ``mask`` added."""
    if mask is None:
        return None
    if not mask.is_dir():
        _check_file(mask)
        return mask
    stems = (image.stem, f"{image.stem}-mask", f"{image.stem}_mask")
    for stem in stems:
        for suffix in (image.suffix, *FORMATS_BY_SUFFIX):
            candidate = mask / f"{stem}{suffix}"
            if candidate.is_file():
                return candidate
    raise CommandError(
        f"{image}: no mask for it in {mask}; looked for {image.stem}.png and the like"
    )


def _output_for(image: Path, output: Path | None, *, model: str, several: bool) -> Path:
    """Return where the result goes; PNG unless told otherwise, since it changes no pixel."""
    beside = image.with_name(f"{image.stem}-{model}.png")
    if output is None:
        return beside
    if several or output.is_dir() or output.suffix == "":
        if output.suffix.lower() in FORMATS_BY_SUFFIX and not output.is_dir():
            raise CommandError(f"-o {output}: several images need a folder to go to, not one file")
        return output / f"{image.stem}.png"
    if output.suffix.lower() not in FORMATS_BY_SUFFIX:
        known = ", ".join(FORMATS_BY_SUFFIX)
        raise CommandError(f"-o {output}: cannot write {output.suffix} files; use one of {known}")
    return output


def _clashes(jobs: Iterable[ImageJob]) -> Iterator[str]:
    """Name results that would overwrite one another, or what they are made from."""
    jobs = list(jobs)
    sources = {job.image.resolve() for job in jobs}
    sources |= {job.mask.resolve() for job in jobs if job.mask is not None}
    taken: dict[Path, Path] = {}
    for job in jobs:
        target = job.output.resolve()
        if target in sources:
            yield f"{job.output}: the result would overwrite an input; name another place with -o"
        elif target in taken:
            yield f"{job.image} and {taken[target]} would both be written to {job.output}"
        taken.setdefault(target, job.image)


def _folder_problems(folders: Iterable[Path]) -> Iterator[str]:
    """Make the folders for the results, and see whether a file can be written there."""
    for folder in sorted(folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield f"{folder}: cannot be written to: {error.strerror}"


def _header_problems(jobs: Iterable[ImageJob], limits: Limits) -> Iterator[str]:
    seen: dict[Path, tuple[int, int] | str] = {}
    for job in jobs:
        sizes = []
        for path in filter(None, (job.image, job.mask)):
            if path not in seen:
                seen[path] = _size(path, limits)
                if isinstance(seen[path], str):
                    yield f"{path}: {seen[path]}"
            if isinstance(seen[path], tuple):
                sizes.append(seen[path])
        # A photograph may lie on its side until its orientation is applied, by the worker.
        if len(sizes) == 2 and sorted(sizes[0]) != sorted(sizes[1]):
            yield (
                f"{job.mask}: the mask is {sizes[1][0]} x {sizes[1][1]} pixels, but {job.image} is"
                f" {sizes[0][0]} x {sizes[0][1]}"
            )


def _size(path: Path, limits: Limits) -> tuple[int, int] | str:
    """Return the image's size from its header, or what is wrong with the file."""
    from paintmq.image.files import size_of_file

    try:
        stored = path.stat().st_size
        if stored > limits.max_payload_bytes:
            return f"{stored:,} bytes; {limits.max_payload_bytes:,} are allowed"
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    width, height = size_of_file(data)
    if not width:
        return "not a readable PNG, JPEG, WebP or TIFF image"
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        return (
            f"{width} x {height} is {width * height:,} pixels; {limits.max_pixels:,} are allowed,"
            f" and {limits.max_side:,} along a side"
        )
    return width, height
