"""Reading the settings: defaults, then a TOML file, then ``PAINTMQ_SECTION__KEY`` variables.

Whatever is wrong is refused with the file, the key's path and the nearest valid key, all problems
at once. The settings themselves, their defaults and their help are in ``config.py``.

A queue in the file is laid over the default of its name, so that one line changes one port; a new
name makes a new queue, and ``name = false`` under ``[queues]`` drops one. What its tasks may need
may also be written as a table ``requirements``: see ``requirements.py``.
"""

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, get_args

import attrs
import cattrs
import tomli
from attrs import frozen

from paintmq.config import Config
from paintmq.errors import ConfigError
from paintmq.launching import SETTINGS_VARIABLE
from paintmq.settings.conflicts import conflicts
from paintmq.settings.requirements import without_requirements
from paintmq.settings.structure import (
    KeyPath,
    is_choice,
    is_optional,
    is_texts,
    nearest_key,
    problems_in,
    structure_config,
)
from paintmq.settings.trust import harmless_part

FILE_NAME = "paintmq.toml"
FILE_VARIABLE = "PAINTMQ_CONFIG"
PREFIX = "PAINTMQ_"


@frozen(kw_only=True)
class Settings:
    """The effective configuration, and where it came from."""

    config: Config
    file: Path | None
    """The file that was read, if there was one."""
    origins: Mapping[KeyPath, str]
    """File name or variable of every key that one of them set."""
    ignored: tuple[str, ...] = ()
    """Keys of a file in the current folder that count only in one that is named: ``trust.py``."""

    def origin(self, path: KeyPath) -> str:
        """Return what set the key, or anything in it if it is a table; ``"default"`` if nothing
        did.
        """
        found = [origin for key, origin in self.origins.items() if key[: len(path)] == path]
        return ", ".join(dict.fromkeys(found)) or "default"


def load_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the effective configuration.

    Without a path, the file is the text of ``PAINTMQ_SETTINGS``, else what ``PAINTMQ_CONFIG``
    names, else ``paintmq.toml`` in the current folder, else the one in the platform's folder for
    settings; none need exist. Of a file that merely lies in the current folder, only harmless
    sections count: ``trust.py``.

    Raises:
        ConfigError: every problem, one a line.
    """
    return load_settings(path, environ).config


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    base: Config | None = None,
) -> Settings:
    """Return the effective configuration and where each value came from.

    ``base`` holds the defaults, where they differ from those in ``config.py``.
    """
    file, source = path, ""
    ignored: tuple[str, ...] = ()
    if path is None and SETTINGS_VARIABLE in environ:
        source, from_file = SETTINGS_VARIABLE, _parsed_file(environ[SETTINGS_VARIABLE])
    else:
        file = path if path is not None else find_config_file(environ)
        source, from_file = str(file or ""), _read_file(file) if file is not None else {}
        if path is None and not environ.get(FILE_VARIABLE) and file == Path(FILE_NAME):
            from_file, ignored = harmless_part(from_file)
    defaults = _defaults(base or Config())
    rewritten = without_requirements(from_file)
    from_file, told = rewritten.table, [*rewritten.problems]
    told += [rewritten.as_written(text) for text in problems_in(_merged(defaults, from_file))]
    problems = [f"{source}: {text}" for text in told]
    origins = dict.fromkeys(_leaves(from_file), source)

    known = _merged(defaults, from_file)
    from_variables: dict[str, Any] = {}
    if not problems:  # a variable is judged only against a file that is valid by itself
        for name, text in sorted(environ.items()):
            if not name.startswith(PREFIX) or "__" not in name:
                continue
            found = _locate(name, known)
            if isinstance(found, str):
                problems.append(f"{name}: {found}")
                continue
            key, kind = found
            value = _parsed(text, kind)
            alone: dict[str, Any] = {}
            _put(alone, key, value)
            wrong = problems_in(_merged(known, alone))
            problems += [f"{name}: {line}" for line in wrong]
            if not wrong:
                _put(from_variables, key, value)
                origins[key] = name

    if not problems:
        config = structure_config(_merged(known, from_variables))
        problems = conflicts(config)
        if not problems:
            return Settings(config=config, file=file, origins=origins, ignored=ignored)
        problems = [
            f"{_culprits(line, origins) or source or 'defaults'}: {line}" for line in problems
        ]
    raise ConfigError("\n".join(problems))


def find_config_file(environ: Mapping[str, str]) -> Path | None:
    """Return the settings file to read when none was named."""
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    here, own = Path(FILE_NAME), _own_file()
    if not _is_file(here):
        return own
    return own if own is not None and own.samefile(here) else here


def _own_file() -> Path | None:
    """Return the file in the user's own folder for settings, if there is one."""
    from platformdirs import user_config_path

    try:
        own = user_config_path("paintmq") / FILE_NAME
    except RuntimeError:  # a user without a home folder
        return None
    return own if _is_file(own) else None


def _is_file(path: Path) -> bool:
    """Return whether a file is there; where one may not look, there is none."""
    try:
        return path.is_file()
    except OSError:
        return False


# ---- the file ----------------------------------------------------------------------------------


def _parsed_file(text: str, name: str = SETTINGS_VARIABLE) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not valid TOML: {error}") from error


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return _parsed_file(file.read_text(encoding="utf-8"), str(file))
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from error


def _defaults(base: Config) -> dict[str, Any]:
    """Return the base as nested dictionaries; unset keys are omitted, as in TOML."""
    raw: dict[str, Any] = cattrs.Converter(unstruct_collection_overrides={tuple: list}).unstructure(
        base
    )
    return _without_none(raw)


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables as one, table by table; ``over`` wins."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _merged(below, value)
        merged[key] = value
    return merged


def _put(table: MutableMapping[str, Any], path: KeyPath, value: object) -> None:
    for key in path[:-1]:
        table = table.setdefault(key, {})
    table[path[-1]] = value


def _leaves(table: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key)


# ---- variables ---------------------------------------------------------------------------------


def _locate(name: str, known: Mapping[str, Any]) -> tuple[KeyPath, object] | str:
    """Return the key a variable sets and its type, or what is wrong with its name."""
    kind: object = Config
    path: KeyPath = ()
    for part in name.removeprefix(PREFIX).lower().split("__"):
        at: object = known
        for key in path:
            at = at.get(key, {}) if isinstance(at, Mapping) else {}
        existing = list(at) if isinstance(at, Mapping) else []
        if isinstance(kind, type) and attrs.has(kind):
            types = {attribute.name: attribute.type for attribute in attrs.fields(kind)}
            if part not in types:
                return f"{'.'.join((*path, part))}: unknown key{nearest_key(part, path, kind)}"
            path, kind = (*path, part), types[part]
        elif get_args(kind) and get_args(kind)[0] is str and len(get_args(kind)) == 2:
            # A shell cannot export a name with a hyphen; a supervisor's environment file may.
            same = [key for key in existing if _as_variable(key) == _as_variable(part)]
            kind = get_args(kind)[1]
            if not same and isinstance(kind, type) and attrs.has(kind):
                return f"{'.'.join((*path, part))}: unknown; there are {', '.join(existing)}"
            path = (*path, same[0] if same else part)
        else:
            return f"{'.'.join(path)} has no keys of its own"
    return path, kind


def _as_variable(key: str) -> str:
    return key.lower().replace("-", "_")


def _parsed(text: str, kind: object) -> object:
    """Return the value a variable's text stands for, given the type that is wanted.

    Text needs no quotes and a list may be written ``a,b``; anything else is written as in TOML.
    """
    if is_optional(kind):
        if not text:
            return None
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    if kind is str or is_choice(kind):
        return text
    if is_texts(kind) and not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError:
        return text  # refused later with the type that is wanted, or plain text in a Json


def _culprits(line: str, origins: Mapping[KeyPath, str]) -> str:
    """Return what set the keys of a conflict."""
    names = [
        origin
        for path, origin in origins.items()
        if re.search(rf"{re.escape('.'.join(path))}(?![\w.-])", line)
    ]
    return ", ".join(dict.fromkeys(names))
