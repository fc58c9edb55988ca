"""Options: what JSON becomes, and what is said about a value that does not fit."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal

import attrs
import pytest
from attrs import Factory, field, frozen, validators
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.odd_values import EXCEPTIONS, raising

from paintmq.errors import InvalidOptionError, PluginError
from paintmq.plugin.options import (
    check_options_class,
    describe_options,
    options_to_json,
    parse_options,
)
from paintmq.task import Json


class Mood(Enum):
    CALM = "calm"
    WILD = "wild"


@frozen
class Frame:
    width: int = 1
    colour: str = "white"


@frozen(kw_only=True)
class Everything:
    steps: int = field(
        default=20,
        validator=[validators.ge(1), validators.le(150)],
        metadata={"help": "denoising steps"},
    )
    strength: float = field(default=1.0, validator=[validators.gt(0), validators.le(1)])
    prompt: str = field(default="", validator=validators.max_len(10))
    sampler: Literal["ddim", "euler", "plms"] = "ddim"
    mood: Mood = Mood.CALM
    tiled: bool = False
    seed: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    crop: tuple[int, int, int, int] | None = None
    colours: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(factory=dict)
    frame: Frame = Frame()


def test_without_values_the_defaults_hold() -> None:
    assert parse_options(Everything, {}) == Everything()


def test_json_becomes_the_declared_types() -> None:
    options = parse_options(
        Everything,
        {
            "strength": 1,
            "mood": "wild",
            "crop": [1, 2, 3, 4],
            "colours": ["red"],
            "weights": {"a": 1},
            "frame": {"width": 3},
            "seed": None,
        },
    )

    assert options == Everything(
        strength=1.0,
        mood=Mood.WILD,
        crop=(1, 2, 3, 4),
        colours=("red",),
        weights={"a": 1.0},
        frame=Frame(width=3),
    )
    assert type(options.strength) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 5}, "unknown option 'stepz' of model x; did you mean 'steps'?"),
        ({"q": 5}, "unknown option 'q' of model x; it has steps, strength"),
        ({"steps": "5"}, "option 'steps' of model x is '5', but must be a whole number"),
        ({"steps": 5.0}, "but must be a whole number"),
        ({"steps": True}, "but must be a whole number"),
        ({"steps": 0}, "option 'steps' of model x is 0, but must be at least 1, at most 150"),
        ({"strength": 0}, "option 'strength' of model x is 0, but must be more than 0, at most 1"),
        ({"strength": float("nan")}, "must be a finite number"),
        ({"strength": 10**400}, "must be a number"),
        ({"prompt": 5}, "must be text"),
        ({"prompt": "x" * 200}, "...*must be at most 10 long"),
        ({"sampler": "eular"}, "must be one of ddim, euler, plms; did you mean 'euler'?"),
        ({"mood": "sad"}, "must be one of calm, wild"),
        ({"tiled": 1}, "must be true or false"),
        ({"seed": -1}, "option 'seed' of model x is -1, but must be at least 0"),
        ({"seed": "a"}, "must be a whole number or null"),
        ({"crop": [1, 2]}, "must be a list of 4"),
        ({"colours": "red"}, "must be a list, each text"),
        ({"colours": [1]}, "must be text"),
        ({"weights": [1]}, "must be a table"),
        ({"frame": {"widht": 1}}, "did you mean 'width'"),
        ({"frame": 3}, "must be a table"),
    ],
)
def test_a_refusal_names_the_option_the_value_and_what_is_allowed(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        parse_options(Everything, values, model="x")

    for part in message.split("...*"):
        assert part in str(caught.value)


def test_a_required_option_that_is_missing_is_named() -> None:
    @frozen
    class Prompted:
        prompt: str

    with pytest.raises(InvalidOptionError, match="'prompt' of model sd15 is required: text"):
        parse_options(Prompted, {}, model="sd15")
    assert parse_options(Prompted, {"prompt": "a cat"}).prompt == "a cat"


def test_a_validator_of_ones_own_gives_its_own_reason() -> None:
    def even(instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
        if value % 2:
            raise ValueError("even, as tiles are halved")

    @frozen
    class Tiles:
        size: int = field(default=2, validator=even)

    with pytest.raises(InvalidOptionError, match="'size' is 3, but must be even, as tiles"):
        parse_options(Tiles, {"size": 3})


def test_a_validator_of_ones_own_keeps_its_reason_beside_bounds() -> None:
    def even(instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
        if value % 2:
            raise ValueError("even, as tiles are halved")

    @frozen
    class Tiles:
        size: int = field(default=2, validator=[validators.ge(1), validators.le(9), even])

    with pytest.raises(InvalidOptionError, match="'size' is 3, but must be even, as tiles"):
        parse_options(Tiles, {"size": 3})
    with pytest.raises(InvalidOptionError, match="'size' is 11, but must be at least 1, at most 9"):
        parse_options(Tiles, {"size": 11})


@pytest.mark.parametrize("error", EXCEPTIONS)
@pytest.mark.parametrize("where", ["validator", "converter", "factory", "__attrs_post_init__"])
def test_whatever_a_class_of_options_raises_the_option_is_refused(error: str, where: str) -> None:
    fault = raising(EXCEPTIONS[error])
    arguments: Any = {where: fault} if where in ("validator", "converter") else {}
    size = field(default=Factory(fault) if where == "factory" else 2, **arguments)
    body = {"size": size, "__annotations__": {"size": int, "more": int}, "more": 0}
    if where == "__attrs_post_init__":
        body[where] = fault
    options: type = frozen(type("Odd", (), body))
    values: dict[str, Json] = {"more": 1} if where == "factory" else {"size": 3}

    with pytest.raises(InvalidOptionError) as caught:
        parse_options(options, values, model="x")
    assert 0 < len(str(caught.value).encode("utf-8")) < 5_000


def test_options_that_only_clash_with_one_another_are_refused_together() -> None:
    @frozen
    class Range:
        low: int = 0
        high: int = 9

        def __attrs_post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    with pytest.raises(InvalidOptionError, match="do not go together: low is above high"):
        parse_options(Range, {"low": 5, "high": 4})


@given(
    st.builds(
        Everything,
        steps=st.integers(1, 150),
        strength=st.floats(0, 1, exclude_min=True),
        prompt=st.text(max_size=10),
        sampler=st.sampled_from(["ddim", "euler", "plms"]),
        mood=st.sampled_from(Mood),
        seed=st.none() | st.integers(0),
        crop=st.none() | st.tuples(*[st.integers()] * 4),
        colours=st.lists(st.text()).map(tuple),
        weights=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
        frame=st.builds(Frame),
    )
)
def test_what_goes_out_as_json_comes_back(options: Everything) -> None:
    assert parse_options(Everything, options_to_json(options)) == options


def test_a_description_tells_kind_default_limits_and_help() -> None:
    lines = {line.name: line for line in describe_options(Everything)}

    assert list(lines)[:3] == ["steps", "strength", "prompt"]
    steps = lines["steps"]
    assert (steps.kind, steps.default, steps.limits, steps.help) == (
        "a whole number",
        20,
        "at least 1, at most 150",
        "denoising steps",
    )
    assert lines["sampler"].kind == "one of ddim, euler, plms"
    assert lines["mood"].default == "calm"
    assert lines["weights"].default == {}
    assert lines["frame"].default == {"width": 1, "colour": "white"}


def test_a_class_that_json_cannot_fill_is_refused() -> None:
    @frozen
    class Odd:
        when: complex = 0j

    with pytest.raises(PluginError, match=r"Odd.when has type .*complex"):
        check_options_class(Odd)
    with pytest.raises(PluginError, match="must be a frozen attrs class"):
        check_options_class(dict)


def test_a_model_without_options_says_so() -> None:
    @frozen
    class Nothing:
        pass

    with pytest.raises(InvalidOptionError, match="unknown option 'steps'; it has none"):
        parse_options(Nothing, {"steps": 1})


def test_a_validator_that_looks_at_the_other_options_is_heard_too() -> None:
    @frozen
    class Range:
        low: int = 0
        high: int = field(default=9)
        free: int = field(default=0)

        @high.validator
        def _above_low(self, attribute: "attrs.Attribute[int]", value: int) -> None:
            if value <= self.low:
                raise ValueError("high must be above low")

        @free.validator
        def _not_high(self, attribute: "attrs.Attribute[int]", value: int) -> None:
            if value == self.high:
                raise ValueError("free must not be high")

    assert parse_options(Range, {"low": 3, "high": 4}).high == 4
    with pytest.raises(InvalidOptionError, match="option 'high' is -1, but must be high must be"):
        parse_options(Range, {"high": -1})
    with pytest.raises(InvalidOptionError, match="do not go together: high must be above low"):
        parse_options(Range, {"low": 5, "high": 5, "free": 1})


@frozen(kw_only=True)
class Limited:
    name: str = field(default="abc", validator=validators.min_len(2))
    code: str = field(default="x1", validator=validators.matches_re("[a-z][0-9]"))
    mood: Mood = field(default=Mood.WILD, validator=validators.in_([Mood.WILD]))
    level: int = field(default=3, validator=validators.in_(range(40)))
    odd: int = field(default=1, validator=lambda instance, attribute, value: None)
    anything: Any = field(default=complex(1, 2))
    _hidden: int = 7
    derived: int = field(default=0, init=False)


def test_the_limits_of_attrs_own_validators_are_told_in_words() -> None:
    limits = {info.name: info.limits for info in describe_options(Limited)}

    assert limits == {
        "name": "at least 2 long",
        "code": "like [a-z][0-9]",
        "mood": "one of wild",
        "level": "one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 … (40 in all)",
        "odd": "",
        "anything": "",
        "_hidden": "",
    }


def test_what_json_has_no_word_for_is_described_as_text() -> None:
    (anything,) = [info for info in describe_options(Limited) if info.name == "anything"]

    assert (anything.kind, anything.default) == ("any JSON value", "(1+2j)")


def test_an_option_of_any_kind_takes_what_it_is_given() -> None:
    assert parse_options(Limited, {"anything": [1, {"a": None}]}).anything == [1, {"a": None}]
    assert parse_options(Limited, {"_hidden": 8})._hidden == 8


@pytest.mark.parametrize("value", [True, "0.5", None, 10**400])
def test_what_is_no_number_or_too_large_for_a_float_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match="but must be a number"):
        parse_options(Everything, {"strength": value})


def test_a_type_that_does_not_exist_is_the_plugins_fault() -> None:
    @frozen
    class Broken:
        steps: "NoSuchType" = 1  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(PluginError, match="Broken: name 'NoSuchType' is not defined"):
        check_options_class(Broken)


def test_a_form_is_told_what_to_offer_for_each_option() -> None:
    told = {
        info.name: (info.type, info.choices, info.least, info.most)
        for info in describe_options(Everything)
    }

    assert told == {
        "steps": ("integer", (), 1, 150),
        "strength": ("number", (), None, 1),
        "prompt": ("text", (), None, None),
        "sampler": ("choice", ("ddim", "euler", "plms"), None, None),
        "mood": ("choice", ("calm", "wild"), None, None),
        "tiled": ("boolean", (), None, None),
        "seed": ("integer", (), None, None),
        "crop": ("any", (), None, None),
        "colours": ("any", (), None, None),
        "weights": ("any", (), None, None),
        "frame": ("any", (), None, None),
    }


def test_an_option_that_may_be_of_several_kinds_is_none_of_them_to_a_form() -> None:
    @frozen(kw_only=True)
    class Either:
        size: int | str = 1

    (size,) = describe_options(Either)

    assert (size.type, size.choices) == ("any", ())
