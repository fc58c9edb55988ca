"""File names as text: in messages, whatever bytes they hold, and to compare one with another."""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path


def shown(name: "str | os.PathLike[str]") -> str:
    """Return the name on one line, with what a terminal cannot or must not print escaped.

    A file name may hold line breaks, commands for terminals and bytes that are not UTF-8.
    """
    return "".join(each if each.isprintable() else _escaped(each) for each in os.fspath(name))


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def listed(names: "list[Path]", *, most: int = 5) -> str:
    """Return the first of these names, and how many more there are."""
    first = ", ".join(shown(each) for each in names[:most])
    return f"{first} and {len(names) - most:,} more" if len(names) > most else first


def folded(name: str) -> str:
    """Return the name as it is compared: one spelling of accents, letters of one case.

    The Turkish I with and without a dot are one letter here: their cases cross those of others.
    """
    plain = same_spelling(same_spelling(name).casefold())
    return plain if plain.isascii() else plain.replace("i\u0307", "i").replace("\u0131", "i")


def same_spelling(name: str) -> str:
    """Return the name with one spelling of accents: macOS stores them taken apart."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


@lru_cache(maxsize=65_536)
def stem_of(name: str) -> str:
    """Return a file's name without its ending, as ``Path.stem``, but fit for many thousands."""
    return os.path.splitext(name)[0]  # noqa: PTH122


def shortened(name: str, most: int = 200) -> str:
    """Return as much of a name as fits into ``most`` bytes: room for a number and an ending."""
    return os.fsdecode(os.fsencode(name)[:most]) if len(os.fsencode(name)) > most else name
