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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from paintmq.cli.failures import CommandError
from paintmq.cli.picture_files import Picture, is_picture_name
from paintmq.cli.shown_names import folded, listed, same_spelling, shown, stem_of


@define
class PairedFiles:
    """The files of one folder, or beside the pictures, by the pictures they are for."""

    name: str
    """Of the input, such as ``mask``."""
    folder: Path | None
    """Where they lie; None: beside the pictures."""
    any_ending: bool = False
    """Whether other files than pictures count as well."""
    remedy: str = ""
    """How to name the file, for where none is found."""
    _places: dict[Path, "_Place"] = field(factory=dict[Path, "_Place"], init=False)
    """Where to look for the files of the pictures of one folder."""
    _listings: dict[Path, "_Listing"] = field(factory=dict[Path, "_Listing"], init=False)

    def of_all(self, pictures: Sequence[Picture]) -> dict[Path, Path | str]:
        """Return the file of each picture, or why it has none."""
        for each in pictures:
            place = self._place(each)
            if not place.is_own:
                place.listing.taken |= {same_spelling(each.stem), same_spelling(each.name)}
        return {each.path: self._of(each) for each in pictures}

    def serving(self, pictures: Sequence[Picture]) -> set[Path]:
        """Return the pictures that are files of others: ``cat_mask.png`` beside ``cat.png``."""
        known = {each.path for each in pictures}
        own = [each for each in pictures if self._place(each).is_own]
        return {file for file in map(self._of, own) if isinstance(file, Path) and file in known}

    def has(self, picture: Picture) -> bool:
        """Return whether there is a file of this picture."""
        return isinstance(self._of(picture), Path)

    def _of(self, picture: Picture) -> Path | str:
        place = self._place(picture)
        for candidates in place.listing.candidates(picture, bare=not place.is_own):
            free = [each for each in candidates if not place.excludes(each, picture)]
            if len(free) > 1:
                names = listed([place.folder / each for each in free])
                return f"several files could be its {self.name}: {names}; leave one there"
            if free:
                return place.folder / free[0]
        stem = shown(picture.stem)
        if self.folder is None:
            return (
                f"no {self.name} beside it; looked for {stem}-{self.name}.png and the like;"
                f" {self.remedy}"
            )
        looked_for = f"{stem}-{self.name}.png" if place.is_own else f"{stem}.png"
        where = shown(place.folder)
        return f"no {self.name} for it in {where}; looked for {looked_for} and the like"

    def _place(self, picture: Picture) -> "_Place":
        place = self._places.get(picture.folder)
        if place is None:
            place = self._places[picture.folder] = self._found_place(picture)
        return place

    def _found_place(self, picture: Picture) -> "_Place":
        folder = self.folder
        if folder is None:
            folder = picture.folder
        elif picture.below != Path() and (folder / picture.below).is_dir():
            folder = folder / picture.below  # one folder may serve a whole tree, or mirror it
        if folder not in self._listings:
            self._listings[folder] = _Listing.of(folder, self.name, any_ending=self.any_ending)
        return _Place(folder, self._listings[folder], _is_same_folder(folder, picture.folder))


@define
class _Listing:
    """The files of one folder, by what their names are once the input's own name is taken off."""

    bare: dict[str, list[str]] = field(factory=dict[str, list[str]])
    marked: dict[str, list[str]] = field(factory=dict[str, list[str]])
    taken: set[str] = field(factory=set[str])
    """Names, with and without ending, of the pictures whose files lie here."""
    _bare_folded: dict[str, list[str]] | None = None
    _marked_folded: dict[str, list[str]] | None = None

    @classmethod
    def of(cls, folder: Path, name: str, *, any_ending: bool) -> "_Listing":
        """List a folder.

        Raises:
            CommandError: it cannot be read.
        """
        listing, marks, wanted = cls(), _marks(name), name.casefold()
        for file in _names_in(folder, any_ending=any_ending):
            whole = same_spelling(file)
            stem = stem_of(whole)
            listing.bare.setdefault(stem, []).append(file)
            if whole != stem:
                listing.bare.setdefault(whole, []).append(file)
            if wanted in stem.casefold():
                found = (mark.fullmatch(stem) for mark in marks)
                if match := next(filter(None, found), None):
                    for each in _owners(match):
                        listing.marked.setdefault(each, []).append(file)
        return listing

    def candidates(self, picture: Picture, *, bare: bool) -> Iterator[list[str]]:
        """Return the files that may be the picture's, best first; those of one list are equal."""
        names = (same_spelling(picture.name), same_spelling(picture.stem))
        for name in names:
            yield self.marked.get(name, [])
        if self._marked_folded is None:
            self._marked_folded = _by_folded_name(self.marked)
        for name in names:
            yield self._marked_folded.get(folded(name), [])
        if not bare:
            return
        for name in names:
            yield _preferring(picture, self.bare.get(name, []))
        if self._bare_folded is None:
            self._bare_folded = _by_folded_name(self.bare)
        for name in names:
            yield _preferring(picture, self._bare_folded.get(folded(name), []))


@frozen
class _Place:
    """Where the files of the pictures of one folder lie."""

    folder: Path
    listing: _Listing
    is_own: bool
    """Whether it is the pictures' own folder."""

    def excludes(self, file: str, picture: Picture) -> bool:
        """Return whether the file cannot be the picture's: rules 1 and 2."""
        if self.is_own:
            return _is_same_file(self.folder / file, picture.path)
        name = same_spelling(file)
        stem = stem_of(name)
        if stem in (same_spelling(picture.stem), same_spelling(picture.name)):
            return False
        return stem in self.listing.taken or name in self.listing.taken


def _by_folded_name(files: Mapping[str, list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, each in files.items():
        found.setdefault(folded(name), []).extend(each)
    return found


def _marks(name: str) -> tuple[re.Pattern[str], ...]:
    text = re.escape(name)
    return (
        re.compile(rf"(?P<of>.+?)(?P<ends>[ ._-]+){text}[ _-]?\d*", re.IGNORECASE),
        re.compile(rf"{text}(?P<ends>[ ._-])[ ._-]*(?P<of>.+)", re.IGNORECASE),
    )


def _owners(match: re.Match[str]) -> list[str]:
    """Return the names that the file may belong to: ``cat-`` and ``cat`` for ``cat--mask``."""
    of, ends = match["of"], match["ends"]
    return [of + ends[:kept] for kept in range(len(ends) - 1, -1, -1)]


def _names_in(folder: Path, *, any_ending: bool) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                each.name
                for each in entries
                if not each.name.startswith(".")
                and (any_ending or is_picture_name(each.name))
                and each.is_file()
            )
    except OSError as error:
        raise CommandError(f"{shown(folder)}: cannot be read: {error.strerror}") from error


def _preferring(picture: Picture, files: list[str]) -> list[str]:
    """Return the file of the picture's own ending alone, if there is one, else all of them."""
    if len(files) < 2:
        return files
    ending = picture.name.removeprefix(picture.stem)
    alike = [each for each in files if each.endswith(ending)]
    return alike if len(alike) == 1 else files


def _is_same_folder(one: Path, other: Path) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False
