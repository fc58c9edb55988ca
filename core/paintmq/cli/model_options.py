"""``--option KEY=VALUE``: what the text stands for, given the model's options."""

import json
from collections.abc import Sequence
from typing import get_args

import attrs

from paintmq.cli.failures import CommandError
from paintmq.errors import UnknownModelError
from paintmq.model import ModelSpec
from paintmq.plugin.manager import PluginManager
from paintmq.task import Json


def installed_spec(model: str, plugins: PluginManager) -> ModelSpec | None:
    """Return what is known here of the model; a distant broker may know more."""
    try:
        return plugins.catalog().get(model)
    except UnknownModelError:
        return None


def parse_assignments(given: Sequence[str], spec: ModelSpec | None) -> dict[str, Json]:
    """Return the options by name. Whether the model takes them is checked with the task.

    Raises:
        CommandError: one is no ``KEY=VALUE``, or is there twice.
    """
    options: dict[str, Json] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(f"--option {text}: write KEY=VALUE, such as radius=5")
        if key in options:
            raise CommandError(f"--option {key} is given twice")
        options[key] = value if _wants_text(key, spec) else _parsed(value)
    return options


def _wants_text(key: str, spec: ModelSpec | None) -> bool:
    """Return whether the option is text, so that ``prompt=5`` is not taken for a number."""
    if spec is None or not attrs.has(spec.options):
        return False
    kind = next((each.type for each in attrs.fields(spec.options) if each.name == key), None)
    return kind is str or str in get_args(kind)


def _parsed(value: str) -> Json:
    """Return the value as JSON has it; what is no JSON is text, quotes or not."""
    try:
        parsed: Json = json.loads(value)
    except ValueError:
        return value
    return parsed
