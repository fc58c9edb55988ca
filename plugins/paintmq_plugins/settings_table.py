"""What the settings of these plugins have in common: tables that become attrs classes."""

from collections.abc import Mapping
from typing import Any

from attrs import AttrsInstance, fields


def at_least(least: float) -> Any:
    """Return a validator: ValueError if the value is less."""

    def check(instance: object, attribute: Any, value: float) -> None:
        if value < least:
            raise ValueError(f"{attribute.name} = {value!r} must be at least {least}")

    return check


def check_table(
    kind: type[AttrsInstance], table: Mapping[str, Any], *, plugin: str, shows_values: bool = True
) -> None:
    """Check the names and types of a plugin's settings by the defaults of their class.

    Raises:
        ValueError: one is unknown, or of another type; without ``shows_values`` the message holds
            no value, as it may be a secret.
    """
    known = {each.name: type(each.default) for each in fields(kind)}
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"{name!r} is no setting of the {plugin} plugin: {', '.join(known)}")
        wanted = (int, float) if known[name] is float else known[name]
        if not isinstance(value, wanted) or isinstance(value, bool):
            what = f"{name} = {value!r}" if shows_values else name
            raise ValueError(f"{what} must be of type {known[name].__name__}")  # noqa: TRY004 -- theirs
