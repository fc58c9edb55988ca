"""What a broker does when its disk is full or fails, and where plugins keep the journal."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.harness.toy_broker import (
    picture_task,
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)

from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.stores import Store, make_store
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.memory import MemoryStore
from paintmq.config import BrokerConfig
from paintmq.errors import ConfigError, PaintMQError, StoreError
from paintmq.task import TaskState
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptSucceeded,
    Finished,
    Rejected,
    Submit,
    Welcome,
)

LARGE = b"large " * 100_000


def test_a_full_disk_refuses_new_tasks_and_still_records_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = BrokerServer(toy_config(tmp_path), toy_plugins())
    with server, toy_client(server) as alice, toy_worker(server) as bob:
        running = toy_task()
        alice.say(Submit(running))
        alice.hear(Accepted)
        fence = bob.hear(Assign).assignments[0].fence
        monkeypatch.setattr(StoreFolder, "is_scarce", lambda *args, **kwargs: True)
        while True:
            alice.say(Submit(toy_task()))
            answer = alice.hear(Accepted | Rejected)  # type: ignore[arg-type]
            if isinstance(answer, Rejected):
                break
        assert answer.code == "disk_full"
        assert answer.retry_after
        bob.say(AttemptSucceeded(task_id=running.id, fence=fence, outputs=(), ran=0.1))
        assert alice.hear(Finished).state is TaskState.SUCCEEDED
        monkeypatch.undo()
        while True:
            alice.say(Submit(toy_task()))
            if isinstance(alice.hear(Accepted | Rejected), Accepted):  # type: ignore[arg-type]
                break
        server.stop(grace=0)


def test_a_failed_fsync_stops_the_broker_before_it_promises_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    server = BrokerServer(toy_config(tmp_path, durability="full"), toy_plugins())
    server.start()
    with toy_client(server) as alice:
        alice.hear(Welcome)
        monkeypatch.setattr(os, "fsync", fsync)
        alice.say(Submit(picture_task(LARGE)), [LARGE])
        thread = server._thread
        assert thread is not None
        thread.join(20)
        monkeypatch.undo()

        assert not any(isinstance(message, Accepted) for message in alice.put_aside())
    assert isinstance(server.failure, StoreError)
    with pytest.raises(PaintMQError, match="Input/output error"):
        server.stop()
    with BrokerServer(toy_config(tmp_path, durability="full"), toy_plugins()) as again:
        assert again.stop(grace=0).tasks == ()


def test_a_plugin_may_keep_the_journal() -> None:
    asked: list[str] = []

    def factory(journal: str) -> Store:
        asked.append(journal)
        return MemoryStore()

    config = BrokerConfig(durability="full", journal="elsewhere://there")

    assert isinstance(make_store(config, factories={"elsewhere": factory}), MemoryStore)
    assert asked == ["elsewhere://there"]


@pytest.mark.parametrize(
    ("journal", "words"),
    [
        ("redis://there", "no plugin provides a store 'redis' (provided: broken, odd)"),
        ("broken:x", "'broken:x': the store cannot be made: division by zero"),
        ("odd:x", "3 is no Store"),
    ],
)
def test_a_store_that_cannot_be_made_is_a_wrong_setting(journal: str, words: str) -> None:
    factories: dict[str, Any] = {"broken": lambda journal: 1 / 0, "odd": lambda journal: 3}

    with pytest.raises(ConfigError) as caught:
        make_store(BrokerConfig(durability="full", journal=journal), factories=factories)

    assert words in str(caught.value)


def test_a_path_is_no_scheme(tmp_path: Path) -> None:
    config = BrokerConfig(durability="memory", journal=f"{tmp_path}/a:b")

    assert isinstance(make_store(config), MemoryStore)
