"""Tables of the documents that say what the code says: settings, hooks, messages ….

Each stands between two marks, ``<!-- reference: NAME -->`` and ``<!-- end of reference -->``::

    python -m tests.reference_tables            # name the tables that are out of date
    python -m tests.reference_tables --write    # renew them
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs

from paintmq import hookspecs
from paintmq.cli import failures
from paintmq.config import DEFAULT_QUEUE_CONFIGS, Config, QueueConfig
from paintmq.settings.toml_text import toml_value
from tests import message_tables

ROOT = Path(__file__).parents[1]
_MARKED = re.compile(r"(<!-- reference: ([\w-]+) -->\n).*?(<!-- end of reference -->)", re.DOTALL)


def settings_table() -> Iterator[str]:
    """One section a table of the file, one row a key: what it is by default and what it means."""
    for section in attrs.fields(attrs.resolve_types(Config)):
        if section.name == "queues":
            yield from _queues()
            continue
        yield from _keys(section.name, section.metadata["help"], section.type)


def _queues() -> Iterator[str]:
    yield from _keys("queues.NAME", "a queue, by its name", QueueConfig)
    yield "The queues of a default installation; what they leave out is as above:"
    yield ""
    yield "| queue | keys |"
    yield "| --- | --- |"
    plain = QueueConfig()
    for name, queue in DEFAULT_QUEUE_CONFIGS.items():
        changed = [
            f"`{field.name} = {toml_value(getattr(queue, field.name))}`"
            for field in attrs.fields(QueueConfig)
            if getattr(queue, field.name) != getattr(plain, field.name)
        ]
        yield f"| `{name}` | {', '.join(changed)} |"
    yield ""


def _keys(path: str, meaning: str, section: Any) -> Iterator[str]:
    yield f"### [{path}]"
    yield ""
    yield f"{meaning[0].upper()}{meaning[1:]}."
    yield ""
    yield "| key | kind | default | meaning |"
    yield "| --- | --- | --- | --- |"
    hints = get_type_hints(section)
    for field in attrs.fields(section):
        default = getattr(section(), field.name)
        shown = "unset" if default is None else f"`{toml_value(default)}`"
        meaning = field.metadata["help"].replace("|", r"\|")
        yield f"| `{field.name}` | {_kind(hints[field.name])} | {shown} | {meaning} |"
    yield ""


_KINDS: Mapping[object, str] = MappingProxyType(
    {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): ""}
)


def _kind(hint: Any) -> str:
    """Return what a value of the type is called in TOML."""
    if hint in _KINDS:
        return _KINDS[hint]
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{choice}"`' for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return "list of text"
    parts = [_kind(part) for part in get_args(hint)] if _is_union(hint) else ["table"]
    return ", ".join(dict.fromkeys(part for part in parts if part))


def _is_union(hint: Any) -> bool:
    return "Union" in type(hint).__name__ or "Union" in str(get_origin(hint))


def hooks_table() -> Iterator[str]:
    """One row a hook: how it is written, when it is called, what it is for."""
    yield "| hook | called | for |"
    yield "| --- | --- | --- |"
    for name, hook in vars(hookspecs).items():
        if not name.startswith("paintmq_"):
            continue
        purpose, *more = inspect.cleandoc(hook.__doc__).split("\n\n")
        (called,) = (part for part in more if part.startswith("Called "))
        arguments = ", ".join(inspect.signature(hook).parameters)
        when = _in_a_line(called).removeprefix("Called ").split(". ")[0].rstrip(".")
        yield f"| `{name}({arguments})` | {when} | {_in_a_line(purpose)} |"


def _in_a_line(docstring: str) -> str:
    return " ".join(docstring.split()).replace("``", "`").replace("|", r"\|")


def exit_statuses() -> Iterator[str]:
    """One row a status: its number and what it means, from the module that knows."""
    yield "| exit status | meaning |"
    yield "| --- | --- |"
    yield "| 0 | Done. |"
    for name, meaning in _documented_constants(failures):
        number = getattr(failures, name)
        yield f"| {number}{' and more' if name == 'SIGNALLED' else ''} | {_in_a_line(meaning)} |"


def _documented_constants(module: Any) -> Iterator[tuple[str, str]]:
    documented = re.compile(r'^([A-Z_]+) = \d+\n"""(.*?)"""', re.MULTILINE | re.DOTALL)
    yield from documented.findall(inspect.getsource(module))


TABLES: Mapping[str, Callable[[], Iterator[str]]] = MappingProxyType(
    {
        "settings": settings_table,
        "hooks": hooks_table,
        "exit-statuses": exit_statuses,
        "messages-of-clients": lambda: message_tables.messages_between(0x01, 0x1F),
        "messages-to-clients": lambda: message_tables.messages_between(0x20, 0x3F),
        "messages-of-workers": lambda: message_tables.messages_between(0x40, 0x5F),
        "messages-to-workers": lambda: message_tables.messages_between(0x60, 0x7F),
        "messages-of-both": lambda: message_tables.messages_between(0x80, 0xEF),
        "maps": message_tables.maps_in_bodies,
    }
)


def pages() -> list[Path]:
    """Return the documents that hold such tables."""
    found = (page for at in ("core", "plugins", "routers") for page in (ROOT / at).rglob("*.md"))
    return sorted(page for page in found if _MARKED.search(page.read_text("utf-8")))


def renewed(page: str) -> str:
    """Return the text of a page with its tables as they must be."""

    def table(match: re.Match[str]) -> str:
        return match[1] + "\n".join(TABLES[match[2]]()).rstrip() + "\n" + match[3]

    return _MARKED.sub(table, page)


def main(arguments: list[str]) -> int:
    """Renew the tables, or return 1 and name the pages that are out of date."""
    old = [page for page in pages() if renewed(page.read_text("utf-8")) != page.read_text("utf-8")]
    for page in old:
        if "--write" in arguments:
            page.write_text(renewed(page.read_text("utf-8")), encoding="utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)}\n")
    return 1 if old and "--write" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
