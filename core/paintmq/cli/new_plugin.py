"""``paintmq new-plugin``: a complete small package to start a model or a router from."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paintmq.cli.failures import CommandError, note

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SUFFIX = ".tmpl"


class Kind(StrEnum):
    """What the plugin is to provide."""

    MODEL = "model"
    ROUTER = "router"


def add_to(app: typer.Typer) -> None:
    app.command("new-plugin")(new_plugin)


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: my-filter.")],
    kind: Annotated[
        Kind, typer.Option("--kind", help="What it provides: a model or a router.")
    ] = Kind.MODEL,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to write; otherwise ./paintmq-NAME.")
    ] = None,
) -> None:
    """Write a plugin with one model or router: manifest, implementation, tests, README."""
    target = folder or Path(f"paintmq-{name}")
    _check_is_free(name)
    write_plugin(name, target, kind)
    note(
        f"wrote {target}; next: pip install --editable '{target}[dev]' && paintmq plugins check"
        f" {target}"
    )


def _check_is_free(name: str) -> None:
    """Refuse the name of a plugin that is installed: two of one name are both set aside."""
    from paintmq.plugin.discovery import find_plugins

    taken = {each.name: each.distribution for each in find_plugins()}
    if name in taken:
        raise CommandError(
            f"a plugin named {name!r} is installed already, by {taken[name]}: use another name"
        )


def write_plugin(name: str, folder: Path, kind: Kind = Kind.MODEL) -> None:
    """Write a complete package into a folder that must not hold anything yet.

    Raises:
        CommandError: the name is invalid, or the folder is not empty.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise CommandError(
            f"{name!r} is no name for a plugin: use lower-case letters, digits and single hyphens"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} is there already and holds something")
    from importlib.metadata import version
    from importlib.resources import files
    from string import Template

    module = name.replace("-", "_")
    values = {
        "name": name,
        "distribution": f"paintmq-{name}",
        "package": f"paintmq_{module}",
        "module": module,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "version": version("paintmq"),
    }
    for path, text in _templates(files("paintmq.cli") / "plugin_template" / kind.value):
        path = path.replace("src/package", f"src/{values['package']}")
        path = path.replace("test_module", f"test_{module}")
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(values), encoding="utf-8")


def _templates(folder: "Traversable", prefix: str = "") -> list[tuple[str, str]]:
    """Return path and text of every template below the folder."""
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _templates(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            found.append((prefix + entry.name.removesuffix(_SUFFIX), entry.read_text("utf-8")))
    return found
