"""``--option KEY=VALUE``."""

import pytest
from attrs import frozen

from paintmq.cli.failures import CommandError
from paintmq.cli.model_options import parse_assignments
from paintmq.model import ModelSpec
from paintmq.task import Json


@frozen
class Options:
    prompt: str = ""
    note: str | None = None
    radius: float = 3.0


SPEC = ModelSpec(name="m", implementation="a:B", options=Options)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("telea", "telea"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_value_is_what_json_takes_it_for_and_text_otherwise(text: str, value: Json) -> None:
    assert parse_assignments([f"radius={text}"], SPEC) == {"radius": value}


@pytest.mark.parametrize("key", ["prompt", "note"])
def test_an_option_that_wants_text_gets_text(key: str) -> None:
    assert parse_assignments([f"{key}=5"], SPEC) == {key: "5"}


def test_the_options_of_a_model_that_is_not_installed_are_guessed() -> None:
    assert parse_assignments(["steps=5", "prompt=a cat"], None) == {"steps": 5, "prompt": "a cat"}


@pytest.mark.parametrize("text", ["radius", "=5", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="write KEY=VALUE"):
        parse_assignments([text], SPEC)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(CommandError, match="--option radius is given twice"):
        parse_assignments(["radius=1", "radius=2"], SPEC)
