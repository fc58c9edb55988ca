"""No argument and no callback harms anybody but its caller (I25): honest work beside each goes on.

The broker here decodes with the real protocol and fails its test at the first message it cannot
read, so what passes has never sent one.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paintmq import AsyncClient, Client, Task, TaskType
from paintmq.errors import (
    ConfigError,
    InvalidInputError,
    InvalidOptionError,
    InvalidTaskError,
    PaintMQError,
    RejectedError,
)
from paintmq.task import TaskState
from paintmq.wire.messages import (
    Answer,
    Ask,
    Cancel,
    CancelAnswered,
    Finished,
    Query,
    Refused,
    Submit,
    UnknownTask,
    Welcome,
    WhoAreYou,
)

if TYPE_CHECKING:
    from tests.harness.client_port import ScriptedBroker

LONG = "x" * 200_000
SURROGATE = "half \ud800 a pair"


def make_task(**changes: Any) -> Task:
    arguments: dict[str, Any] = {"task_type": TaskType.INPAINT, "config": {"model": "opencv"}}
    return Task(**(arguments | changes))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


class Hostile:
    """An object all of whose methods raise."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise RuntimeError("no str")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__


@pytest.fixture
def helpful(broker: "ScriptedBroker") -> "ScriptedBroker":
    """A broker that answers everything."""
    broker.when(Submit, lambda m: [Finished(task_id=m.task.id, state=TaskState.SUCCEEDED)])
    broker.when(Query, lambda m: [UnknownTask(task_id) for task_id in m.task_ids])
    broker.when(Cancel, lambda m: [CancelAnswered(m.task_id, "unknown")])
    broker.when(Ask, lambda m: [Answer(request_id=m.request_id, value="ok")])
    return broker


@pytest.fixture
def client(helpful: "ScriptedBroker") -> Iterator[Client]:
    with Client(helpful.endpoint) as made:
        yield made


def check_honest_work(client: Client) -> None:
    client.submit(make_task()).result(30)
    assert client.ask("version", timeout=30) == "ok"


# ---- finds of a hostile tester, and their kind -------------------------------------------------

NO_IDS: list[Any] = [
    *(
        "xyz",
        "",
        "ABC",
        "g" * 32,
        "1" * 31,
        "1" * 33,
        "1" * 32 + "\n",
        LONG,
        SURROGATE,
        "\u0661" * 32,
    ),
    *(None, 7, 2**80, float("nan"), b"1" * 32, ["1" * 32], {}, object(), Hostile()),
    *("12345678-1234-1234-1234-12345678901", "12345678_1234_1234_1234_123456789012"),
]


@pytest.mark.parametrize("number", range(len(NO_IDS)))
@pytest.mark.parametrize("method", ["cancel", "fetch"])
def test_what_is_no_task_id_is_refused_to_its_caller(
    client: Client, method: str, number: int
) -> None:
    """Regression: ``cancel("xyz")`` ended the client's thread, ``fetch("xyz")`` never ended."""
    with pytest.raises(InvalidTaskError, match="is no task id"):
        getattr(client, method)(NO_IDS[number])

    check_honest_work(client)


@pytest.mark.parametrize(
    "form",
    [
        "0192f0c1-aaaa-7bbb-8ccc-0123456789ab",
        "0192F0C1AAAA7BBB8CCC0123456789AB",
        UUID("0192f0c1-aaaa-7bbb-8ccc-0123456789ab"),
    ],
)
def test_a_task_id_may_be_written_as_uuids_are(
    client: Client, helpful: "ScriptedBroker", form: Any
) -> None:
    task_id = "0192f0c1aaaa7bbb8ccc0123456789ab"

    assert client.cancel(form, 30) == "unknown"
    assert client.fetch(form).id == task_id
    assert make_task(id=form).id == task_id
    assert helpful.of(Cancel) == [Cancel(task_id)]  # type: ignore[arg-type]  # a TaskId


@pytest.mark.parametrize(
    "arguments",
    [
        {"x": float("nan")},
        {"x": b"bytes"},
        {"x": SURROGATE},
        {SURROGATE: 1},
        {"x": 2**80},
        {"x": nested(9)},
        {"x": nested(5_000)},
        {"x": LONG},
        {"x": Hostile()},
        {f"x{number}": 1 for number in range(300)},
        {"x": ["y" * 30_000] * 100},
    ],
    ids=["nan", "bytes", "text", "key", "int", "deep", "deeper", "long", "object", "many", "large"],
)
def test_a_question_that_cannot_be_read_is_refused_to_its_caller(
    client: Client, arguments: dict[str, Any]
) -> None:
    with pytest.raises(RejectedError, match="cannot be asked") as caught:
        client.ask("why", timeout=30, **arguments)

    assert caught.value.code == "invalid_question"
    check_honest_work(client)


@pytest.mark.parametrize("subject", [None, 7, b"why", SURROGATE, LONG], ids=range(5))
def test_a_subject_that_is_no_text_is_refused_to_its_caller(client: Client, subject: Any) -> None:
    with pytest.raises(RejectedError, match="cannot be asked"):
        client.ask(subject)

    check_honest_work(client)


@pytest.mark.parametrize("queue", [None, 7, b"cpu-light", SURROGATE, LONG, ["x"]], ids=range(6))
def test_a_queue_that_is_no_name_is_refused_to_its_caller(client: Client, queue: Any) -> None:
    with pytest.raises(InvalidTaskError, match="queue"):
        client.submit(make_task(), queue=queue)

    assert client._session.window.tasks == 0
    check_honest_work(client)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"deadline": 2e15}, InvalidTaskError, "deadline"),
        ({"deadline": 10**400}, InvalidTaskError, "deadline"),
        ({"run_limit": 1e300}, InvalidTaskError, "run_limit"),
        ({"max_attempts": 2**63}, InvalidTaskError, "max_attempts"),
        ({"task_type": LONG}, InvalidTaskError, "task_type"),
        ({"task_type": SURROGATE}, InvalidTaskError, "task_type"),
        ({"config": {"model": LONG}}, InvalidTaskError, "model"),
        ({"config": {"model": SURROGATE}}, InvalidTaskError, "model"),
        ({"inputs": {LONG: b"x"}}, InvalidInputError, "input"),
        ({"inputs": {SURROGATE: b"x"}}, InvalidInputError, "input"),
        ({"tenant": SURROGATE}, InvalidTaskError, "tenant"),
        ({"idempotency_key": SURROGATE}, InvalidTaskError, "idempotency_key"),
        ({"strict": None}, InvalidTaskError, "strict"),
        ({"cancel_on_disconnect": "yes"}, InvalidTaskError, "cancel_on_disconnect"),
        ({"priority": 10**5000}, InvalidTaskError, "priority"),
        ({"config": {"model": "m", "x": float("nan")}}, InvalidOptionError, "'x'"),
        ({"config": {"model": "m", "x": 2**63}}, InvalidOptionError, "'x'"),
        ({"config": {"model": "m", "x": nested(8)}}, InvalidOptionError, "'x'"),
        ({"config": {"model": "m", "x": [1] * 5_000}}, InvalidOptionError, "'x'"),
        ({"config": {"model": "m", "x": {SURROGATE: 1}}}, InvalidOptionError, "'x'"),
        ({"config": {"model": "m", "x": SURROGATE}}, InvalidOptionError, "'x'"),
        ({"config": {"model": "m", "x" * 201: 1}}, InvalidOptionError, "option"),
        (
            {"config": {"model": "m", **{f"x{number}": 1 for number in range(300)}}},
            InvalidTaskError,
            "300|301",
        ),
    ],
)
def test_a_value_the_protocol_cannot_carry_is_refused_where_the_task_is_made(
    changes: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        make_task(**changes)

    assert len(str(caught.value)) < 500


def test_a_task_whose_description_is_too_long_in_all_is_refused_to_its_caller(
    client: Client,
) -> None:
    task = make_task(config={"model": "m", **{f"x{n}": "y" * 30_000 for n in range(100)}})

    with pytest.raises(InvalidTaskError, match="too large"):
        client.submit(task)

    assert client._session.window.tasks == 0
    check_honest_work(client)


def test_what_is_changed_after_it_was_handed_in_changes_nothing(
    broker: "ScriptedBroker",
) -> None:
    arguments: dict[str, Any] = {"ids": ["1"]}
    broker.when(Ask, lambda m: [Answer(request_id=m.request_id, value=dict(m.arguments))])
    with Client(broker.endpoint) as client:
        answer = client._session.ask("why", arguments)
        arguments["ids"].append(object())
        arguments["x"] = float("nan")

        assert answer.result(30) == {"ids": ["1"]}


@pytest.mark.parametrize("name", [None, 7, SURROGATE, LONG, "x" * 256], ids=range(5))
def test_a_name_no_broker_would_take_is_refused_at_once(name: Any) -> None:
    with pytest.raises(ConfigError, match="name"):
        Client(name=name)


@pytest.mark.parametrize("endpoint", [None, "", "localhost:5550", "tcp://localhost", 5550, b"tcp"])
def test_an_address_that_is_none_is_refused_at_once(endpoint: Any) -> None:
    with pytest.raises(ConfigError, match="tcp://HOST:PORT"):
        Client(endpoint)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_context_that_is_none_is_refused_at_once(kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"must be a zmq\.Context"):
        kind(context=5)


def test_a_timeout_that_is_no_number_is_refused_before_a_loop_sorts_by_it(
    broker: "ScriptedBroker",
) -> None:
    """A loop keeps its timers in order; one at NaN is neither before nor after any other."""

    async def run() -> None:
        async with AsyncClient(broker.endpoint) as client:
            handle = await client.submit(make_task())
            with pytest.raises(ValueError, match="NaN"):
                await handle.result(timeout=float("nan"))
            with pytest.raises(ValueError, match="NaN"):
                await client.ask("version", timeout=float("nan"))
            with pytest.raises(ValueError, match="NaN"):
                await anext(client.as_completed([handle], timeout=float("nan")))

    asyncio.run(run())


def test_a_host_that_cannot_be_is_waited_for_as_a_silent_one_is() -> None:
    with Client("tcp://no such host!:5550") as client, pytest.raises(TimeoutError):
        client.submit(make_task()).result(0.05)


# ---- any value at all --------------------------------------------------------------------------

any_value: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(min_value=2**62, max_value=2**70),
        st.floats(),
        st.text(st.characters(codec=None)),
        st.text(st.characters(categories=["Cs"]), min_size=1),
        st.binary(),
        st.sampled_from([LONG, SURROGATE, float("nan"), -(2**63) - 1]),
        st.builds(object),
        st.builds(Hostile),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_quiet = settings(max_examples=150, suppress_health_check=list(HealthCheck))


def _try(call: Callable[[], Any]) -> None:
    """Call as a program would that knows the library's errors and no others."""
    with suppress(PaintMQError, TimeoutError, TypeError):
        call()


@_quiet
@given(value=any_value, other=any_value)
def test_whatever_is_handed_in_honest_work_beside_it_goes_on(
    helpful: "ScriptedBroker", value: Any, other: Any
) -> None:
    with Client(helpful.endpoint) as client:
        _try(lambda: client.cancel(value, 30))
        _try(lambda: client.fetch(value).result(30))
        _try(lambda: client.ask("why", task_id=value, x=other, timeout=30))
        _try(lambda: client.ask(value, timeout=30))
        _try(lambda: client.submit(make_task(), queue=value).result(30))
        _try(lambda: client.submit(make_task(config={"model": "m", "x": value})).result(30))
        _try(lambda: client.submit(make_task(config={"model": value})).result(30))
        for name in ("task_type", "config", "priority", "deadline", "tenant", "id"):
            _try(lambda name=name: client.submit(make_task(**{name: value})).result(30))  # type: ignore[misc]
        for name in ("idempotency_key", "max_attempts", "run_limit", "strict"):
            _try(lambda name=name: client.submit(make_task(**{name: value})).result(30))  # type: ignore[misc]

        check_honest_work(client)
        assert client._session.window.tasks == 0
        assert client._session.unread == 0


# ---- callbacks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_whatever_a_callback_raises_is_logged_and_the_client_lives_on(
    client: Client, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(handle: object) -> None:
        raise error

    called = threading.Event()
    handle = client.submit(make_task())
    handle.add_done_callback(fail)
    handle.add_done_callback(lambda _: called.set())

    assert called.wait(30)
    check_honest_work(client)
    assert "a callback raised" in caplog.text


def test_a_callback_may_call_sys_exit(client: Client) -> None:
    handle = client.submit(make_task())
    handle.result(30)
    with suppress(SystemExit):  # it has ended: the callback runs in this thread
        handle.add_done_callback(lambda _: sys.exit(3))

    check_honest_work(client)


def test_nothing_that_waits_for_the_broker_may_be_called_in_a_callback(
    client: Client, helpful: "ScriptedBroker"
) -> None:
    errors: list[str] = []
    called = threading.Event()
    helpful.when(Submit, lambda m: [])
    waiting = client.submit(make_task())
    helpful.wait_for(Submit)

    def wait(_: Any) -> None:
        for method in (
            lambda: client.ask("version"),
            lambda: client.cancel("1" * 32),
            client.connect,
            lambda: list(client.as_completed([client.submit(make_task())])),
            lambda: list(client.map([make_task()])),
        ):
            try:
                method()
            except RuntimeError as error:
                errors.append(str(error))
        called.set()

    waiting.add_done_callback(wait)
    helpful.say(Finished(task_id=waiting.id, state=TaskState.SUCCEEDED))

    assert called.wait(30)
    assert len(errors) == 5
    assert all("in a callback" in error for error in errors)


# ---- interrupts --------------------------------------------------------------------------------


def test_a_ctrl_c_while_submit_waits_for_room_costs_no_room(broker: "ScriptedBroker") -> None:
    """Regression: after as many interrupts as there are places, ``submit`` waited for ever."""
    with Client(broker.endpoint, max_tasks=2) as client:
        held = [client.submit(make_task()) for _ in range(2)]
        for _ in range(5):
            timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                client.submit(make_task())
            timer.join()
        broker.when(Submit, lambda m: [Finished(task_id=m.task.id, state=TaskState.SUCCEEDED)])
        for handle in held:
            broker.say(Finished(task_id=handle.id, state=TaskState.SUCCEEDED))
            handle.result(30)

        for handle in [client.submit(make_task(), timeout=30) for _ in range(2)]:
            handle.result(30)
        assert (client._session.window.tasks, client._session.window.bytes) == (0, 0)


def test_an_interrupted_submission_can_be_made_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows a task is not left behind without its submission."""
    task = make_task()
    put = client._session._put

    def interrupted(*_: object) -> None:
        monkeypatch.setattr(client._session, "_put", put)
        raise KeyboardInterrupt

    monkeypatch.setattr(client._session, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.submit(task)

    assert client._session.window.tasks == 0
    client.submit(task).result(30)


def test_an_order_that_fails_is_failed_to_its_caller_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise ZeroDivisionError

    for method in ("take_in", "ask", "cancel", "fetch"):
        monkeypatch.setattr(type(client._session._machine), method, broken)
    with pytest.raises(PaintMQError, match="failed inside the client: ZeroDivisionError"):
        client.submit(make_task()).result(30)
    with pytest.raises(PaintMQError, match="failed inside the client"):
        client.fetch("1" * 32).result(30)
    with pytest.raises(PaintMQError, match="failed inside the client"):
        client.cancel("1" * 32, 30)
    with pytest.raises(PaintMQError, match="failed inside the client"):
        client.ask("version", timeout=30)
    monkeypatch.undo()

    check_honest_work(client)
    assert "an order of the program failed" in caplog.text


# ---- what the broker refuses -------------------------------------------------------------------


def test_what_a_broker_of_another_version_cannot_read_is_failed_and_the_rest_goes_on(
    broker: "ScriptedBroker",
) -> None:
    welcome = Welcome(incarnation=1, durable_sequence=0, heartbeat=5.0)
    broker.when(
        Submit,
        lambda m: (
            [WhoAreYou()]
            if m.task.priority == 9
            else [Finished(task_id=m.task.id, state=TaskState.SUCCEEDED)]
        ),
    )
    with Client(broker.endpoint) as client:
        client.connect(30)
        bad = client.submit(make_task(priority=9))
        good = [client.submit(make_task()) for _ in range(5)]

        for handle in good:
            handle.result(30)
        with pytest.raises(PaintMQError, match="does not understand this request"):
            bad.result(30)
        assert client._session.unread >= 2
        broker.say(welcome)
        client.submit(make_task()).result(30)


def test_a_task_that_waits_says_that_its_client_is_refused(broker: "ScriptedBroker") -> None:
    """F24: after its key was revoked, a client's new tasks waited without a word."""
    with Client(broker.endpoint) as client:
        client.connect(30)
        first = client.submit(make_task())
        broker.wait_for(Submit)
        broker.say(Refused("this key was revoked"))
        with pytest.raises(PaintMQError, match="revoked"):
            first.result(30)
        handle = client.submit(make_task())

        assert "refuses this client: this key was revoked" in handle.waiting_for
        assert "this key was revoked" in handle.progress().waiting_for
        with pytest.raises(TimeoutError, match="this key was revoked"):
            handle.result(0.01)


# ---- asyncio -----------------------------------------------------------------------------------


def test_the_same_holds_for_asyncio(helpful: "ScriptedBroker") -> None:
    async def run() -> None:
        async with AsyncClient(helpful.endpoint) as client:
            for given_id in NO_IDS:
                for method in (client.cancel, client.fetch):
                    with pytest.raises(InvalidTaskError, match="is no task id"):
                        await method(given_id)
            with pytest.raises(RejectedError, match="cannot be asked"):
                await client.ask("why", task_id=float("nan"))
            with pytest.raises(InvalidTaskError, match="queue"):
                await client.submit(make_task(), queue=None)  # type: ignore[arg-type]  # so it is

            await (await client.submit(make_task())).result(30)

    asyncio.run(run())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_whatever_a_callback_raises_the_loop_that_calls_it_goes_on(
    helpful: "ScriptedBroker", error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: asyncio shows a callback that raises, and is stopped if its repr raises."""

    class Odd:
        def __repr__(self) -> str:
            raise error

        def __call__(self, handle: object) -> None:
            raise error

    async def run() -> None:
        async with AsyncClient(helpful.endpoint) as client:
            called = asyncio.Event()
            handle = await client.submit(make_task())
            handle.add_done_callback(Odd())
            handle.add_done_callback(None)  # type: ignore[arg-type]  # what a program may pass
            handle.add_done_callback(lambda _: called.set())
            async with asyncio.timeout(30):
                await called.wait()
            await (await client.submit(make_task())).result(30)

    asyncio.run(run())
    assert "a callback raised" in caplog.text
