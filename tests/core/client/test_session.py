"""The session's thread when things go wrong: a broker that is silent, restarted or not ours."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from tests.harness.client_port import ScriptedBroker

from paintmq import AsyncClient, Client, Task, TaskState, TaskType
from paintmq.client.liveness import ClientTimers
from paintmq.errors import InvalidTaskError, TaskRejectedError
from paintmq.image import encode_image
from paintmq.task import PayloadInfo
from paintmq.wire.messages import (
    Accepted,
    ClientHello,
    Finished,
    Heartbeat,
    Query,
    Refused,
    Submit,
    UnknownTask,
    Welcome,
    WhoAreYou,
    WorkerWelcome,
)


def make_task(**changes: Any) -> Task:
    return Task(TaskType.INPAINT, {"model": "opencv"}, **changes)


def accepts(message: Submit, sequence: int = 1) -> Accepted:
    return Accepted(task_id=message.task.id, queue="cpu-light", durable_sequence=sequence)


def succeeds(task_id: Any) -> Finished:
    return Finished(task_id=task_id, state=TaskState.SUCCEEDED)


@pytest.fixture
def client(broker: ScriptedBroker) -> Iterator[Client]:
    with Client(broker.endpoint) as made:
        yield made


def test_a_restarted_broker_is_introduced_to_and_asked(
    client: Client, broker: ScriptedBroker
) -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    broker.when(Query, lambda m: [succeeds(id_) for id_ in m.task_ids])
    handle = client.submit(make_task())
    broker.wait_for(Submit)
    broker.say(WhoAreYou())

    handle.result(30)
    assert len(broker.wait_for(ClientHello, 2)) == 2
    assert len(set(broker.peers)) == 2


def test_a_silent_broker_is_left_for_a_new_connection(broker: ScriptedBroker) -> None:
    broker.when(Heartbeat, lambda _: [])
    broker.when(Submit, lambda m: [accepts(m)])
    broker.when(Query, lambda m: [succeeds(id_) for id_ in m.task_ids])
    with Client(broker.endpoint) as client:
        client._session._machine.timers = ClientTimers(silence=0.6, connect_first=0.6)
        client.submit(make_task()).result(30)

        assert len(broker.wait_for(ClientHello, 2)) >= 2


def test_nonsense_from_the_broker_costs_a_connection_and_no_task(
    client: Client, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    broker.when(Query, lambda m: [succeeds(id_) for id_ in m.task_ids])
    handle = client.submit(make_task())
    broker.wait_for(Submit)
    with caplog.at_level(logging.WARNING):
        broker.say_raw(b"\x00 this is no message of ours")
        handle.result(30)

    assert "broker " + broker.endpoint in caplog.text


def test_what_is_meant_for_workers_is_not_heeded(
    client: Client, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    handle = client.submit(make_task())
    broker.wait_for(Submit)
    broker.say(WorkerWelcome(incarnation=1, heartbeat=1.0, lease=1.0))  # type: ignore[arg-type]  # that is the point
    broker.say(succeeds(handle.id))

    handle.result(30)
    assert "to a client" in caplog.text


def test_a_broker_that_refuses_the_client_says_why(client: Client, broker: ScriptedBroker) -> None:
    broker.when(ClientHello, lambda _: [Refused("speaks versions 2 to 3")])
    broker.when(Submit, lambda _: [Refused("speaks versions 2 to 3")])

    with pytest.raises(TaskRejectedError, match="versions 2 to 3"):
        client.submit(make_task()).result(30)


def test_a_store_that_went_back_is_counted_and_logged(
    client: Client, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.when(Submit, lambda m: [accepts(m, sequence=50)])
    broker.when(Query, lambda m: [UnknownTask(id_) for id_ in m.task_ids])
    handle = client.submit(make_task())
    for update in handle.updates(30):
        if update.state is TaskState.QUEUED:
            break
    broker.when(Submit, lambda m: [succeeds(m.task.id)])
    broker.say(Welcome(incarnation=2, durable_sequence=7, heartbeat=0.2))

    handle.result(30)
    assert client.alarms == 2
    assert "went back from record 50 to 7" in caplog.text


def test_a_task_too_large_for_the_wire_is_refused_alone(
    client: Client, broker: ScriptedBroker
) -> None:
    broker.when(Submit, lambda m: [succeeds(m.task.id)])
    many = {f"input-{number}": b"x" for number in range(5_000)}

    with pytest.raises(InvalidTaskError, match="too many"):
        client.submit(make_task(inputs=many))
    client.submit(make_task()).result(30)


def test_what_was_just_submitted_leaves_before_the_client_closes(
    broker: ScriptedBroker,
) -> None:
    data = bytes(20_000_000)
    with Client(broker.endpoint) as client:
        client.connect(30)
        handle = client.submit(make_task(inputs={"image": data}))

    broker.wait_for(Submit)
    assert broker.payloads[handle.id] == (data,)


def test_an_encoded_result_is_decoded_when_it_is_looked_at(
    client: Client, broker: ScriptedBroker
) -> None:
    pixels = np.full((3, 5, 3), 44, np.uint8)
    data = encode_image(pixels, "png")

    def answer(message: Submit) -> list[Any]:
        from paintmq.image import payload_of_bytes

        info, payload = payload_of_bytes("image", data)
        text, words = payload_of_bytes("text", b"words")
        finished = Finished(
            task_id=message.task.id, state=TaskState.SUCCEEDED, outputs=(info, text)
        )
        return [(finished, (payload, words))]

    broker.when(Submit, answer)
    result = client.submit(make_task()).result(30)

    assert result.outputs["image"] == data
    assert result.outputs["text"] == b"words"
    np.testing.assert_array_equal(result.image, pixels)


def test_a_result_without_a_picture_has_no_image(client: Client, broker: ScriptedBroker) -> None:
    broker.when(Submit, lambda m: [succeeds(m.task.id)])

    with pytest.raises(KeyError):
        _ = client.submit(make_task()).result(30).image


# ---- callbacks ---------------------------------------------------------------------------------


def test_a_callback_that_raises_is_logged_and_harms_nobody(
    client: Client, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    handle = client.submit(make_task())
    handle.add_done_callback(lambda _: 1 / 0)
    broker.wait_for(Submit)
    broker.say(succeeds(handle.id))
    handle.result(30)
    broker.when(Submit, lambda m: [succeeds(m.task.id)])

    client.submit(make_task()).result(30)
    assert "a callback raised" in caplog.text


def test_a_callback_may_submit_and_is_not_held_up_by_the_window(broker: ScriptedBroker) -> None:
    chain: list[Any] = []
    finished = threading.Event()
    with Client(broker.endpoint, max_tasks=1) as client:

        def submit_another(handle: Any) -> None:
            chain.append(handle.id)
            if len(chain) == 3:
                finished.set()
                return
            client.submit(make_task()).add_done_callback(submit_another)

        broker.when(Submit, lambda m: [succeeds(m.task.id)])
        client.submit(make_task()).add_done_callback(submit_another)
        assert finished.wait(30)


def test_waiting_in_a_callback_is_refused_rather_than_for_ever(
    client: Client, broker: ScriptedBroker
) -> None:
    errors: list[Exception] = []
    called = threading.Event()
    other = client.submit(make_task())
    first = client.submit(make_task())

    def wait(_: Any) -> None:
        for method in (other.result, other.cancel, lambda: list(other.updates())):
            try:
                method()
            except RuntimeError as error:
                errors.append(error)
        called.set()

    first.add_done_callback(wait)
    broker.wait_for(Submit, 2)
    broker.say(succeeds(first.id))

    assert called.wait(30)
    assert len(errors) == 3
    assert "in a callback" in str(errors[0])


def test_a_callback_may_close_the_client(broker: ScriptedBroker) -> None:
    client = Client(broker.endpoint)
    handle = client.submit(make_task())
    handle.add_done_callback(lambda _: client.close())
    broker.wait_for(Submit)
    broker.say(succeeds(handle.id))

    handle.result(30)
    client.close()


def test_a_preview_is_part_of_the_progress_until_the_next_attempt(
    client: Client, broker: ScriptedBroker
) -> None:
    from paintmq.image import payload_of_array
    from paintmq.wire.messages import Progressed

    info, data = payload_of_array("preview", np.zeros((2, 2, 3), np.uint8))
    handle = client.submit(make_task())
    broker.wait_for(Submit)

    def progress(attempt: int, preview: tuple[PayloadInfo, ...]) -> Progressed:
        return Progressed(
            task_id=handle.id, state=TaskState.RUNNING, attempt=attempt, preview=preview
        )

    seen = []
    updates = handle.updates(30)
    next(updates)
    for message, payloads in ((progress(1, (info,)), [data]), (progress(2, ()), [])):
        broker.say(message, payloads)
        update = next(updates)
        while update.attempt != message.attempt:
            update = next(updates)
        seen.append(update.preview is not None)

    assert seen == [True, False]


# ---- asyncio -----------------------------------------------------------------------------------


def test_a_submission_that_is_cancelled_while_it_waits_takes_no_room(
    broker: ScriptedBroker,
) -> None:
    async def run() -> None:
        async with AsyncClient(broker.endpoint, max_tasks=1) as client:
            first = await client.submit(make_task())
            waiting = asyncio.create_task(client.submit(make_task()))
            while not client._session.window._waiting:  # noqa: ASYNC110 -- nothing else tells
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            broker.when(Submit, lambda m: [succeeds(m.task.id)])
            broker.say(succeeds(first.id))
            await first.result(30)

            await (await client.submit(make_task(), timeout=30)).result(30)

    asyncio.run(run())


def test_tasks_may_come_from_an_asynchronous_source(broker: ScriptedBroker) -> None:
    broker.when(Submit, lambda m: [succeeds(m.task.id)])
    tasks = [make_task() for _ in range(5)]

    async def source() -> AsyncIterator[Task]:
        for task in tasks:
            await asyncio.sleep(0)
            yield task

    async def run() -> list[str]:
        async with AsyncClient(broker.endpoint) as client:
            return [result.task_id async for result in client.map(source())]

    assert asyncio.run(run()) == [task.id for task in tasks]


def test_many_may_await_one_handle(broker: ScriptedBroker) -> None:
    async def run() -> None:
        async with AsyncClient(broker.endpoint) as client:
            handle = await client.submit(make_task())
            waiting = [asyncio.create_task(handle.result(30)) for _ in range(10)]
            await asyncio.to_thread(broker.wait_for, Submit)
            broker.say(succeeds(handle.id))

            assert len({id(result) for result in await asyncio.gather(*waiting)}) == 1

    asyncio.run(run())


def test_whoever_waits_in_vain_is_told_that_the_broker_is_silent() -> None:
    with Client("tcp://127.0.0.1:1", max_tasks=1) as client:
        silence = client._session._reachability
        assert silence._unanswered_since is not None
        silence._unanswered_since -= 60.0
        handle = client.submit(make_task())
        words = r"no broker has answered at tcp://127\.0\.0\.1:1 for \d+ s"

        with pytest.raises(TimeoutError, match=words):
            handle.result(0.01)
        with pytest.raises(TimeoutError, match=words):
            list(handle.updates(0.01))
        with pytest.raises(TimeoutError, match=words):
            handle.cancel(0.01)
        with pytest.raises(TimeoutError, match=words):
            client.ask("version", timeout=0.01)
        with pytest.raises(TimeoutError, match=words):
            client.submit(make_task(), timeout=0.01)
        with pytest.raises(TimeoutError, match=words):
            list(client.as_completed([handle], timeout=0.01))

    assert "no broker" not in repr(handle)  # it has ended: nobody waits any more


def test_a_silent_broker_is_complained_of_although_nobody_set_up_logging(
    broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(broker.endpoint)
    client._session._machine.timers = ClientTimers(connect_first=0.01, connect_most=0.01)
    broker.when(ClientHello, lambda m: [])
    with client:
        broker.wait_for(ClientHello, 3)
        broker.when(
            ClientHello, lambda m: [Welcome(incarnation=1, durable_sequence=0, heartbeat=5.0)]
        )
        client.connect(30)

    complaints = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [complaint.partition(";")[0] for complaint in complaints] == [
        f"broker {broker.endpoint} does not answer",
        f"broker {broker.endpoint} answers again",
    ]


def test_asking_again_and_again_for_a_result_leaves_nothing_behind(
    broker: ScriptedBroker,
) -> None:
    async def run() -> None:
        async with AsyncClient(broker.endpoint) as client:
            handle = await client.submit(make_task())
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    await handle.result(0.0)

            assert not handle._followed._callbacks

    asyncio.run(run())
