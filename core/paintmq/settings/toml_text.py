"""Settings as TOML: for people in ``paintmq config``, for nodes launched elsewhere."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from paintmq.config import DEFAULT_QUEUE_CONFIGS, Config, without_password

if TYPE_CHECKING:
    from paintmq.settings.file import Settings
    from paintmq.settings.structure import KeyPath

_OF_A_NODE = ("workers", "timers", "limits", "plugins", "weights")
"""The sections a node reads, beside its queues and its key."""


def node_settings(config: Config) -> str:
    """Return the settings a node needs, as the text of a file: what differs from the defaults."""
    lines: list[str] = []
    for name in _OF_A_NODE:
        section = getattr(config, name)
        lines += _changed(name, section, type(section)())
    keys = attrs.evolve(Config().broker, keys=config.broker.keys, key=config.broker.key)
    lines += _changed("broker", keys, Config().broker)
    dropped = [name for name in DEFAULT_QUEUE_CONFIGS if name not in config.queues]
    if dropped:
        lines += ["[queues]", *(f"{toml_key(name)} = false" for name in dropped)]
    for name, queue in config.queues.items():
        default = DEFAULT_QUEUE_CONFIGS.get(name)
        # A queue that is not a default one is named even where nothing in it differs.
        same = [f"[queues.{toml_key(name)}]"] if default is None else []
        changed = list(_changed(f"queues.{toml_key(name)}", queue, default or type(queue)()))
        lines += changed or same
    return "\n".join(lines)


def _changed(path: str, section: Any, default: object) -> Iterator[str]:
    """Write a table's header and the keys that differ from the default, if any do."""
    lines = [
        f"{attribute.name} = {toml_value(value)}"
        for attribute in attrs.fields(type(section))
        if (value := getattr(section, attribute.name)) != getattr(default, attribute.name)
        and value is not None
    ]
    if lines:
        yield f"[{path}]"
        yield from lines


def toml_lines(settings: "Settings") -> Iterator[str]:
    """Write the settings as lines of TOML, with the source of each value that is not a default."""
    file = settings.file or "none; defaults and variables alone"
    yield f"# The effective settings of PaintMQ. File: {file}"
    yield "# A variable such as PAINTMQ_BROKER__PORT overrides the key broker.port."
    for section in attrs.fields(attrs.resolve_types(type(settings.config))):
        value = getattr(settings.config, section.name)
        if section.name == "queues":
            yield from _queues(settings)
        else:
            yield from _section((section.name,), value, section.metadata["help"], settings)


def _queues(settings: "Settings") -> Iterator[str]:
    dropped = [name for name in DEFAULT_QUEUE_CONFIGS if name not in settings.config.queues]
    if dropped:
        yield "\n[queues]"
        yield from (f"{toml_key(name)} = false" for name in dropped)
    for position, (name, queue) in enumerate(settings.config.queues.items()):
        yield from _section(("queues", name), queue, "a queue", settings, explained=position == 0)


def _section(
    path: "KeyPath", value: Any, help_text: str, settings: "Settings", *, explained: bool = True
) -> Iterator[str]:
    yield f"\n[{'.'.join(map(toml_key, path))}]" + (f"  # {help_text}" if explained else "")
    for attribute in attrs.fields(type(value)):
        current = getattr(value, attribute.name)
        if isinstance(current, str):
            current = without_password(current)
        remarks = [attribute.metadata["help"]] if explained else []
        origin = settings.origin((*path, attribute.name))
        if origin != "default":
            remarks.append(f"set by {origin}")
        # TOML has no value for "unset": the key is shown as a comment.
        line = (
            f"# {attribute.name} ="
            if current is None
            else (f"{attribute.name} = {toml_value(current)}")
        )
        yield f"{line}  # {'; '.join(remarks)}" if remarks else line


def toml_value(value: object) -> str:
    """Return a setting as TOML writes it."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            pairs = (f"{toml_key(str(key))} = {toml_value(each)}" for key, each in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case tuple() | list():
            return f"[{', '.join(map(toml_value, value))}]"
        case _:
            raise TypeError(f"no TOML for {value!r}")


def toml_key(name: str) -> str:
    """Return a key as TOML writes it: bare where it can be."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _text(name)


def _text(text: str) -> str:
    """Quote text. JSON's escapes are TOML's; but TOML wants the delete character escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
