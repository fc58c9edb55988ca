"""Odd calls at every door harm nobody: I25. The gate tries a few thousand, the command as many as
one likes; see ``README.md``.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paintmq.client import followed_task
from paintmq.plugin import manager
from tests.containment.case import Case
from tests.containment.doors import DOORS
from tests.containment.finds import ELSEWHERE, FINDS, Find
from tests.containment.recipes import value_of
from tests.containment.runner import Runner
from tests.containment.strategies import RAISES

pytest.importorskip("starlette", reason="needs paintmq[http]")
pytest.importorskip("uvicorn", reason="needs paintmq[http]")

CASES = {
    "client": 400,
    "asyncio": 150,
    "http": 500,
    "api": 400,
    "live": 100,
    "spec": 250,
    "model": 20,
    "plugin": 500,
    "manager": 60,
}
"""What two minutes of two cores are enough for."""


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """Much is refused here, and each refusal is logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def runner(quiet: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """One site for all finds; a new one after a case that harmed."""
    with pytest.MonkeyPatch.context() as patched, Runner() as runner:
        patched.chdir(tmp_path_factory.mktemp("odd"))  # odd values name files
        yield runner


def test_every_door_is_tried() -> None:
    assert set(CASES) == set(DOORS)


def test_every_earlier_find_has_a_test() -> None:
    """Of the 29, F17, F19, F22 and F28 have no description in the record."""
    numbers = {f"F{number}" for number in range(1, 30)} - {"F17", "F19", "F22", "F28"}
    tests = [path.read_text("utf-8") for path in Path(__file__).parents[1].rglob("test_*.py")]
    missing = [
        name
        for names in ELSEWHERE.values()
        for name in names
        if not any(f"def test_{name}(" in text for text in tests)
    ]

    assert numbers <= {*ELSEWHERE, *(find.number for find in FINDS)}
    assert not missing


@given(st.one_of(*(door.cases() for door in DOORS.values())))
@settings(max_examples=300)
def test_a_case_reads_as_it_is_printed(case: Case) -> None:
    assert Case.parse(str(case)) == case


@pytest.mark.parametrize("recipe", RAISES)
def test_recipes_that_raise_raise_what_they_say(recipe: str) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 -- which one is asserted below
        value_of(recipe)

    assert type(raised.value).__name__.startswith(recipe.removeprefix("raise:"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "find",
    [
        pytest.param(
            find,
            id=f"{find.number} {find.case}",
            marks=[pytest.mark.xfail(strict=True, reason=find.still_open)]
            if find.still_open
            else [],
        )
        for find in FINDS
    ],
)
def test_an_earlier_find_harms_nobody(runner: Runner, find: Find) -> None:
    finding = runner.try_case(find.case)

    assert finding is None, finding


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("door", DOORS)
def test_odd_callers_harm_nobody(
    door: str, quiet: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I25. The same cases on every run; other ones: ``python -m tests.containment --seed``."""
    monkeypatch.chdir(tmp_path)
    with Runner() as runner:
        runner.try_many(door, CASES[door], seed=1, enough=3)
        runner.finish()

    assert not runner.findings, "\n".join(map(str, runner.findings))


HONEST = (
    *(f"client.{call}()" for call in ("submit", "task", "config", "inputs", "fetch", "cancel")),
    *(f"client.{call}()" for call in ("map", "as_completed", "connect", "open", "handle_result")),
    *(f"asyncio.{call}()" for call in ("submit", "task", "map", "as_completed", "handle_updates")),
    *("client.callback(raised='none')", "asyncio.callback(raised='none')"),
    *("http.body()", "http.query()", "plugin.spec()"),
    *(f"manager.{call}()" for call in ("route_task", "send_task", "get_queue_stats", "settings")),
    *(f"manager.{call}()" for call in ("submit", "map", "as_completed", "fetch", "cancel", "stop")),
    *(
        f"{call}(recipe='none', where='')"
        for call in ("spec.function", "model.run", "manager.spec")
    ),
    "manager.observer(hook='statistics', recipe='none')",
)
"""One call of each kind with nothing odd about it."""


@pytest.mark.slow
@pytest.mark.parametrize("text", HONEST)
def test_what_is_not_odd_is_not_refused(runner: Runner, text: str) -> None:
    """A door whose every call fails for another reason would try nothing."""
    assert runner.answer_to(Case.parse(text)) is None


def _run_unguarded(callback: Any, task_id: Any) -> None:
    callback()


def _describe_unguarded(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("broken", "case"),
    [
        (
            [(followed_task, "run_callback", _run_unguarded)],
            "client.callback(raised='raise:SystemExit')",
        ),
        (
            [(manager, "describe", _describe_unguarded)],
            "plugin.hook(hook='register_models', recipe='raise:Untold')",
        ),
    ],
    ids=["callback", "untold error"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_kit_notices_a_rule_that_is_broken(
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    broken: Sequence[tuple[Any, str, Any]],
    case: str,
) -> None:
    """A kit that finds nothing where something is wrong is no proof of anything."""
    assert runner.try_case(Case.parse(case)) is None

    for owner, attribute, replacement in broken:
        monkeypatch.setattr(owner, attribute, replacement)
    finding = runner.try_case(Case.parse(case))

    assert finding is not None
    runner.findings.remove(finding)
