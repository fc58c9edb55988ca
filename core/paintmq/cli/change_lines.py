"""What a reload or a change of a queue came to, as lines for people."""

from collections.abc import Iterator
from typing import Any

from paintmq.settings.toml_text import toml_value


def change_lines(changes: Any) -> Iterator[str]:
    """Give a line for each setting that differs: from what, to what, since when and why so late.

    ``changes``: as the broker answers.
    """
    for each in changes:
        when = f"at the next start: {each['late']}" if each["late"] else "at once"
        yield f"  {each['key']}: {_shown(each['before'])} -> {_shown(each['after'])}, {when}"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "unset"
        case "a queue" | "no queue" | "added" | "removed":
            return str(value)
        case _:
            return toml_value(value)
