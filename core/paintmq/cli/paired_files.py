"""Files that belong to pictures by name: the mask of each, or any other input of a model.

For ``cat.jpg`` and the input ``mask`` these count, in this order and with any picture's ending:
``cat-mask``, ``cat_mask``, ``cat.mask``, ``cat mask``, with a number behind or with ``mask`` before
the name, also ``cat.jpg_mask``; then ``cat`` itself, in a folder other than the picture's own.
Letters match in either case and accents in any spelling, but an exact match comes first.

Rule 1: a picture is never paired with itself.
Rule 2: what belongs to another picture by its exact name is that picture's.
Rule 3: of two files that match equally well, neither is taken: the picture is refused.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from attrs import define, field

from paintmq.cli.failures import CommandError
from paintmq.cli.picture_files import Picture, is_picture_name
from paintmq.cli.shown_names import folded, listed, same_spelling, shown


@define
class PairedFiles:
    """The files of one folder, or beside the pictures, by the pictures they are for."""

    name: str
    """Of the input, such as ``mask``."""
    folder: Path | None
    """Where they lie; None: beside the pictures."""
    any_ending: bool = False
    """Whether other files than pictures count as well."""
    _listings: dict[str, "_Listing"] = field(factory=dict[str, "_Listing"], init=False)
    _names_in: dict[str, set[str]] = field(factory=dict[str, set[str]], init=False)

    def of_all(self, pictures: Sequence[Picture]) -> "dict[Path, Path | str]":
        """Return the file of each picture, or why it has none."""
        for each in pictures:
            names = self._names_in.setdefault(str(self._place(each)), set())
            names |= {same_spelling(each.path.stem), same_spelling(each.path.name)}
        return {each.path: self._of(each) for each in pictures}

    def serving(self, pictures: Sequence[Picture]) -> set[Path]:
        """Return the pictures that are files of others: ``cat_mask.png`` beside ``cat.png``."""
        known = {each.path for each in pictures}
        found = set()
        for picture in pictures:
            file = self._of(picture, claims=False)
            if isinstance(file, Path) and file in known:
                found.add(file)
        return found

    def _of(self, picture: Picture, *, claims: bool = True) -> Path | str:
        place = self._place(picture)
        key = str(place)
        if key not in self._listings:
            self._listings[key] = _Listing.of(place, self.name, any_ending=self.any_ending)
        listing = self._listings[key]
        others = self._names_in.get(key, set()) if claims else set()
        is_own_folder = _is_same_folder(place, picture.path.parent)
        for candidates in listing.candidates(picture.path, bare=not is_own_folder):
            free = [
                each
                for each in candidates
                if not _is_same_file(each, picture.path)
                and not _is_claimed(each, picture.path, others, own_folder=is_own_folder)
            ]
            if len(free) > 1:
                return f"several files could be its {self.name}: {listed(free)}; leave one there"
            if free:
                return free[0]
        stem = shown(picture.path.stem)
        if self.folder is None:
            return f"no {self.name} beside it; looked for {stem}-{self.name}.png and the like"
        looked_for = f"{stem}-{self.name}.png" if is_own_folder else f"{stem}.png"
        return f"no {self.name} for it in {shown(place)}; looked for {looked_for} and the like"

    def _place(self, picture: Picture) -> Path:
        if self.folder is None:
            return picture.path.parent
        below = self.folder / picture.below
        # One folder of masks may serve a whole tree, or mirror it.
        return below if picture.below != Path() and below.is_dir() else self.folder


@define
class _Listing:
    """The files of one folder, by what their names are once the input's own name is taken off."""

    marked: dict[str, list[Path]] = field(factory=dict[str, list[Path]])
    marked_folded: dict[str, list[Path]] = field(factory=dict[str, list[Path]])
    bare: dict[str, list[Path]] = field(factory=dict[str, list[Path]])
    bare_folded: dict[str, list[Path]] = field(factory=dict[str, list[Path]])

    @classmethod
    def of(cls, folder: Path, name: str, *, any_ending: bool) -> "_Listing":
        """List a folder.

        Raises:
            CommandError: it cannot be read.
        """
        listing, marks = cls(), _marks(name)
        for file in _files_in(folder, any_ending=any_ending):
            stem, whole = same_spelling(file.stem), same_spelling(file.name)
            for text in dict.fromkeys((stem, whole)):
                listing.bare.setdefault(text, []).append(file)
                listing.bare_folded.setdefault(folded(text), []).append(file)
            for mark in marks:
                if match := mark.fullmatch(stem):
                    of = match["of"]
                    listing.marked.setdefault(of, []).append(file)
                    listing.marked_folded.setdefault(folded(of), []).append(file)
                    break
        return listing

    def candidates(self, picture: Path, *, bare: bool) -> Iterator[list[Path]]:
        """Return the files that may be the picture's, best first; those of one list are equal."""
        names = (same_spelling(picture.name), same_spelling(picture.stem))
        for name in names:
            yield self.marked.get(name, [])
        for name in names:
            yield self.marked_folded.get(folded(name), [])
        if bare:
            for name in names:
                yield _preferring(picture, self.bare.get(name, []))
            for name in names:
                yield _preferring(picture, self.bare_folded.get(folded(name), []))


def _marks(name: str) -> tuple[re.Pattern[str], ...]:
    text = re.escape(name)
    return (
        re.compile(rf"(?P<of>.+?)[ ._-]+{text}[ _-]?\d*", re.IGNORECASE),
        re.compile(rf"{text}[ ._-]+(?P<of>.+)", re.IGNORECASE),
    )


def _files_in(folder: Path, *, any_ending: bool) -> Iterable[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                each.name
                for each in entries
                if not each.name.startswith(".")
                and (any_ending or is_picture_name(each.name))
                and each.is_file()
            )
    except OSError as error:
        raise CommandError(f"{shown(folder)}: cannot be read: {error.strerror}") from error
    return [folder / name for name in names]


def _preferring(picture: Path, files: list[Path]) -> list[Path]:
    """Return the file of the picture's own ending alone, if there is one, else all of them."""
    alike = [each for each in files if each.suffix == picture.suffix]
    return alike if len(alike) == 1 else files


def _is_claimed(file: Path, picture: Path, others: Collection[str], *, own_folder: bool) -> bool:
    """Return whether the file has the name of another picture. In the pictures' own folder every
    file has: there its marked name decides.
    """
    stem = same_spelling(file.stem)
    if own_folder or stem == same_spelling(picture.stem):
        return False
    return stem in others or same_spelling(file.name) in others


def _is_same_folder(one: Path, other: Path) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False
