"""What a settings file may say that only happens to lie in the current folder.

A folder may come from anywhere: an archive, another user, a shared drive. A file in it may tune how
work is done; what starts programs, names hosts, keys or files to write, or trusts code, counts only
in a file that the user named or that lies in the user's own folder for settings.
"""

from collections.abc import Iterator, Mapping
from typing import Any

HARMLESS_SECTIONS = ("limits", "monitoring", "queues", "router", "timers", "workers")
"""Sections that start, trust, read and write nothing by themselves."""

_HARMFUL_KEYS = (("workers", "python"),)
"""Keys of those sections that do."""


def harmless_part(table: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what of a file may be used unasked, and the names of the keys that were left out.

    What is no known section stays, to be refused by its name like any spelling mistake.
    """
    from attrs import fields_dict

    from paintmq.config import Config

    used: dict[str, Any] = {}
    ignored: list[str] = []
    for section, value in table.items():
        if section in fields_dict(Config) and section not in HARMLESS_SECTIONS:
            ignored += _names(section, value)
            continue
        used[section] = value
        for at, key in _HARMFUL_KEYS:
            if section == at and isinstance(value, Mapping) and key in value:
                used[section] = {name: each for name, each in value.items() if name != key}
                ignored.append(f"{at}.{key}")
    return used, tuple(ignored)


def _names(section: str, value: object) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield section
    else:
        yield from (f"{section}.{key}" for key in value)
