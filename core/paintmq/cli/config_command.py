"""``paintmq config``: the effective settings as a file that could be loaded again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import typer

from paintmq.cli.common_options import ConfigOption, installed_plugins, service_settings
from paintmq.config import DEFAULT_QUEUE_CONFIGS
from paintmq.config_text import toml_key, toml_value

if TYPE_CHECKING:
    from paintmq.config_file import Settings
    from paintmq.config_structure import KeyPath


def add_to(app: typer.Typer) -> None:
    app.command("config")(config)


def config(config: ConfigOption = None) -> None:
    """Print the effective settings as TOML, with their help and who set what."""
    settings = service_settings(config)
    installed_plugins(settings.config.plugins).make_router(settings.config.router)
    print("\n".join(toml_lines(settings)))


def toml_lines(settings: "Settings") -> Iterator[str]:
    """Give the settings as lines of TOML; what was not set by default says who set it."""
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
        remarks = [attribute.metadata["help"]] if explained else []
        origin = settings.origin((*path, attribute.name))
        if origin != "default":
            remarks.append(f"set by {origin}")
        # TOML has no word for "unset": the key is shown, but as a comment.
        line = (
            f"# {attribute.name} ="
            if current is None
            else (f"{attribute.name} = {toml_value(current)}")
        )
        yield f"{line}  # {'; '.join(remarks)}" if remarks else line
