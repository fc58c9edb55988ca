"""What a plugin's functions return or raise ends one task, with a reason that can be read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.odd_values import EXCEPTIONS, VALUES, raising, returning

from paintmq.errors import InvalidInputError, InvalidOptionError, InvalidTaskError
from paintmq.model import Job, ModelSpec, Needs
from paintmq.plugin.answers import LONGEST_KEY, MOST_SECONDS, Estimate, estimate

JOB = Job(device="cpu", options=None)
FUNCTIONS = ("needs", "run_seconds", "batch_key", "result_bytes")
NAN: Any = float("nan")
NEEDS = ("gpu_memory_mb", "memory_mb", "cores")


def make_spec(**functions: Any) -> ModelSpec:
    return ModelSpec(name="brush", implementation="brush.model:Brush", **functions)


def refusal(**functions: Any) -> str:
    """Return why a task of such a model is refused."""
    with pytest.raises(InvalidTaskError) as caught:
        estimate(make_spec(**functions), JOB)
    assert type(caught.value) in (InvalidTaskError, InvalidInputError)
    reason = str(caught.value)
    assert 0 < len(reason) < 5_000
    reason.encode("utf-8")
    return reason


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("error", EXCEPTIONS)
def test_whatever_a_function_raises_the_task_is_refused_with_a_reason(
    function: str, error: str
) -> None:
    assert refusal(**{function: raising(EXCEPTIONS[error])})


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", VALUES)
def test_whatever_a_function_returns_the_task_is_refused_with_a_reason(
    function: str, value: str
) -> None:
    functions = {function: returning(VALUES[value])}
    if function == "batch_key" and value in ("digits", "odd text"):
        assert type(estimate(make_spec(**functions), JOB).batch_key) is str
    else:
        assert refusal(**functions)


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.parametrize("value", VALUES)
def test_whatever_stands_in_needs_the_task_is_refused_with_a_reason(name: str, value: str) -> None:
    assert name in refusal(needs=returning(Needs(**{name: VALUES[value]}))) or value in (
        "hostile",
        "odd int",
    )


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        ({"needs": returning(Needs(memory_mb=-1))}, "needs.memory_mb is -1, but must be a number"),
        ({"needs": returning(Needs(cores=NAN))}, "needs.cores is nan"),
        (
            {"needs": returning({"cores": 1})},
            "needs returned {'cores': 1}, but must return a Needs",
        ),
        ({"run_seconds": returning(MOST_SECONDS * 2)}, "from 0 to 1,000,000,000"),
        ({"run_seconds": returning("5")}, "run_seconds is '5', but must be a number"),
        ({"batch_key": returning(7)}, "batch_key is 7, but must be text"),
        ({"batch_key": returning("k" * (LONGEST_KEY + 1))}, "has 1001 characters"),
        ({"batch_key": returning("\ud800")}, "which is no valid Unicode"),
        ({"needs": raising(SystemExit(1))}, "cannot estimate this task: SystemExit: 1"),
    ],
)
def test_the_reason_names_the_value_and_what_would_do(
    functions: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(**functions)
    assert refusal(**functions).startswith("model brush cannot estimate this task: ")


@pytest.mark.parametrize("kind", [InvalidTaskError, InvalidInputError, InvalidOptionError])
def test_a_refusal_on_purpose_keeps_its_text_and_its_kind(kind: type[InvalidTaskError]) -> None:
    own = type("Own", (kind,), {})

    with pytest.raises(InvalidTaskError, match=r"^not today$") as caught:
        estimate(make_spec(needs=raising(own("not today"))), JOB)
    assert type(caught.value) is kind


def test_the_size_of_a_result_is_a_whole_number_of_bytes() -> None:
    assert estimate(make_spec(result_bytes=returning(7.5)), JOB).result_bytes == 8
    assert estimate(make_spec(), JOB).result_bytes == 0
    assert "result_bytes is -1" in refusal(result_bytes=returning(-1))


def test_memory_may_be_a_fraction_which_is_rounded_up() -> None:
    found = estimate(make_spec(needs=returning(Needs(memory_mb=64.2))), JOB)  # type: ignore[arg-type]

    assert found == Estimate(needs=Needs(memory_mb=65), run_seconds=1.0, batch_key=None)


@given(st.integers() | st.floats() | st.booleans() | st.text() | st.none() | st.fractions())
def test_every_number_is_taken_as_it_is_or_refused(value: Any) -> None:
    try:
        found = estimate(make_spec(run_seconds=returning(value)), JOB).run_seconds
    except InvalidTaskError:
        assert isinstance(value, bool | str | None) or not 0 <= value <= MOST_SECONDS
    else:
        assert found == pytest.approx(float(value))
        assert 0 <= found <= MOST_SECONDS
