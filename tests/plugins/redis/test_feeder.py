"""Against a real server: killed, wiped, frozen, full, closed to us. Then it is whole again."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

redis = pytest.importorskip("redis", reason="the extra redis is not here")

from tests.harness.redis_server import MISSING, RedisServer, binary  # noqa: E402
from tests.harness.toy_broker import (  # noqa: E402
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)
from tests.plugins.redis.test_mirror import event  # noqa: E402

from paintmq.broker.shell.server import BrokerServer  # noqa: E402
from paintmq.wire.messages import (  # noqa: E402
    Assign,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    Submit,
)
from paintmq_plugins import redis as plugin  # noqa: E402
from paintmq_plugins.redis import RedisSettings, feeder  # noqa: E402
from paintmq_plugins.redis.feeder import Feeder  # noqa: E402

pytestmark = pytest.mark.skipif(binary() is None, reason=MISSING)

BOOT = {"event": "boot", "incarnation": 7, "at": 1.0}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has half a second to answer, and is tried again soon."""
    monkeypatch.setattr(feeder, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(feeder, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(feeder, "BEAT_SECONDS", 0.1)


@pytest.fixture
def feed(server: RedisServer, quick: None) -> Iterator[Feeder]:
    fed = Feeder(RedisSettings(url=server.url))
    fed.start()
    fed.events([BOOT, event("accept", "queued")])
    until(lambda: state(server) == "queued")
    yield fed
    fed.close()


def until(holds: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until it holds; a server that is away for the moment is asked again."""
    ends, wait = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < ends:
        try:
            if holds():
                return
        except (redis.RedisError, OSError):
            pass
        wait.wait(0.02)
    raise AssertionError("it never came to hold")


def state(server: RedisServer, task: str = "a") -> str | None:
    with server.client(socket_timeout=1) as client:
        found: str | None = client.hget(f"paintmq:task:{task}", "state")
        return found


def told(server: RedisServer) -> list[dict[str, str]]:
    with server.client() as client:
        return [fields for _, fields in client.xrange("paintmq:events")]


def test_a_server_that_was_wiped_holds_everything_again(
    server: RedisServer, feed: Feeder, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as client:
        client.flushall()

    until(lambda: state(server) == "queued")
    assert "lost what it held" in caplog.text


def test_a_server_that_was_killed_under_load_and_comes_back_holds_what_is_true(
    server: RedisServer, feed: Feeder, caplog: pytest.LogCaptureFixture
) -> None:
    stopping = threading.Event()
    sent = 0
    wanted: list[int] = []

    def load() -> None:
        nonlocal sent
        while not stopping.wait(0.005):
            ended = event("finish", "succeeded", str(sent), ended_at=5.0)
            feed.events([event("accept", "queued", str(sent)), ended])
            sent += 1

    busy = threading.Thread(target=load)
    busy.start()
    try:
        for _ in range(3):
            wanted.append(sent + 20)
            until(lambda: sent > wanted[-1])
            server.kill()
            until(lambda: feed.failures > 1)
            server.start()
            until(lambda: feed.failures == 0)
    finally:
        stopping.set()
        busy.join()
    feed.events([event("lease", "leased")])

    until(lambda: state(server, str(sent - 1)) == "succeeded" and state(server) == "leased")
    with server.client() as client:
        until(lambda: client.hget("paintmq:broker", "whole") == "1")
        pipe = client.pipeline()
        for number in range(sent):
            pipe.hget(f"paintmq:task:{number}", "state")
        assert set(pipe.execute()) == {"succeeded"}
        assert client.hget("paintmq:queue:cpu", "waiting") == "0"
    assert "tasks go on" in caplog.text
    assert "takes what it is told again" in caplog.text


def test_a_frozen_server_keeps_nobody_waiting_and_loses_no_event(
    server: RedisServer, feed: Feeder
) -> None:
    server.signal(signal.SIGSTOP)
    try:
        feed.events([event("lease", "leased"), event("start", "running")])
        until(lambda: feed.failures > 0)
        feed.events([event("finish", "succeeded", ended_at=6.0)])
    finally:
        server.signal(signal.SIGCONT)

    until(lambda: state(server) == "succeeded")
    until(
        lambda: {"accept", "lease", "start", "finish"} <= {each["event"] for each in told(server)}
    )


def test_a_full_server_is_waited_for_and_written_anew(
    server: RedisServer, feed: Feeder, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        feed.events([event("lease", "leased")])
        until(lambda: feed.failures > 1)
        assert state(server) == "queued"
        assert "OutOfMemoryError" in caplog.text

        client.config_set("maxmemory", 0)

    until(lambda: state(server) == "leased")
    until(lambda: [each["event"] for each in told(server)].count("lease") == 1)


@pytest.mark.usefixtures("quick")
def test_a_wrong_password_is_said_without_it_and_a_mended_file_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong-word\n")
    with RedisServer("--requirepass", "right-word") as server:
        fed = Feeder(RedisSettings(url=server.url, password_file=str(secret)))
        fed.start()
        try:
            fed.events([BOOT, event("accept", "queued")])
            until(lambda: fed.failures > 1)
            assert "AuthenticationError" in caplog.text
            assert "password_file" in caplog.text

            secret.unlink()
            at = fed.failures
            until(lambda: fed.failures > at + 1)
            secret.write_text("right-word\n")

            with server.client(password="right-word") as client:
                until(lambda: client.hget("paintmq:task:a", "state") == "queued")
        finally:
            fed.close()
    assert "wrong-word" not in caplog.text
    assert "right-word" not in caplog.text


def test_everything_is_written_at_the_end_and_ends_by_itself(
    server: RedisServer, feed: Feeder
) -> None:
    feed.events([event("finish", "cancelled", ended_at=6.0)])
    feed.close()

    assert state(server) == "cancelled"
    with server.client() as client:
        for key in client.scan_iter("paintmq:*"):
            assert 0 < client.ttl(key) <= 86_400, key


def test_the_stream_stays_as_long_as_it_may_be_and_is_shared_by_a_group(
    server: RedisServer, quick: None
) -> None:
    fed = Feeder(RedisSettings(url=server.url, stream_length=100))
    with server.client() as client:
        client.xgroup_create("paintmq:events", "readers", id="0", mkstream=True)
        fed.start()
        fed.events([BOOT, *(event("accept", "queued", str(number)) for number in range(2000))])
        until(lambda: state(server, "1999") == "queued")
        fed.close()

        assert 100 <= client.xlen("paintmq:events") <= 250
        read = [
            client.xreadgroup("readers", name, {"paintmq:events": ">"}, count=60)[0][1]
            for name in ("first", "second")
        ]
    ids = [entry for batch in read for entry, _ in batch]
    assert len(ids) == len(set(ids)) >= 100, "no entry went to both"


def test_a_task_is_followed_from_a_broker_to_its_subscriber(
    server: RedisServer, quick: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    plugins = toy_plugins()
    plugins.register(plugin, "redis")
    plugin.paintmq_configure({"url": server.url})
    task, waits = toy_task(tenant="studio", priority=4), toy_task()
    try:
        with server.client() as client, client.pubsub() as heard:
            heard.subscribe(f"paintmq:task:{task.id}")
            config = toy_config(tmp_path)
            with BrokerServer(config, plugins) as broker, toy_client(broker) as sender:
                with toy_worker(broker) as worker:
                    sender.say(Submit(task))
                    (item,) = worker.hear(Assign).assignments
                    ids: dict[str, Any] = {"task_id": item.task.id, "fence": item.fence}
                    worker.say(AttemptStarted(**ids, loading=False))
                    worker.say(AttemptProgressed(**ids, step=3, total=8))
                    until(lambda: client.hget(f"paintmq:task:{task.id}", "step") == "3")
                    worker.say(AttemptSucceeded(**ids, outputs=(), ran=0.1))
                    until(lambda: state(server, task.id) == "succeeded")
                sender.say(Submit(waits))
                until(lambda: state(server, waits.id) == "queued")
            messages = iter(lambda: heard.get_message(timeout=0.1), None)
            words = [str(each["data"]) for each in messages if each["type"] == "message"]
            assert any('"event": "progress"' in each and '"step": "3"' in each for each in words)
            assert '"state": "succeeded"' in words[-1]

            client.flushall()
            with BrokerServer(config, plugins):
                until(lambda: state(server, waits.id) == "queued")
                until(lambda: state(server, task.id) == "succeeded")
                until(lambda: client.hget("paintmq:queue:cpu-light", "waiting") == "1")
    finally:
        plugin.paintmq_configure({})
