"""Keys of a running broker, over real sockets: what they are good for, and what ends with them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve
from tests.harness.toy_broker import (
    by_pipes,
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)
from tests.harness.wire_peer import WirePeer

from paintmq.broker.recording.replay import replay
from paintmq.broker.shell.server import BrokerServer
from paintmq.config import Config, QueueConfig
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import Role, add_key, init_keys, load_peer_key, revoke_key
from paintmq.transport.key_terms import NO_TERMS, KeyTerms
from paintmq.transport.pipes import Secure
from paintmq.wire.messages import (
    Accepted,
    Assign,
    Refused,
    Rejected,
    Submit,
    Welcome,
    WhoAreYou,
    WorkerWelcome,
)

QUEUES = {"a": QueueConfig(), "b": QueueConfig()}
PAST = KeyTerms(not_after=1_000_000_000.0)


class KeyedBroker:
    """A broker that asks for keys, and whoever has one."""

    def __init__(self, config: Config, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.record = Path(config.broker.record)
        self.server = BrokerServer(config, toy_plugins())

    def start(self) -> None:
        self.server.start()
        self._stack.callback(self.server.stop, grace=0.0)

    def add(self, name: str, role: Role, terms: KeyTerms = NO_TERMS) -> None:
        """Let a new key in."""
        add_key(self._folder, name, role, terms)
        self.server.reload()

    def change(self, name: str, terms: KeyTerms) -> None:
        """Give a key other terms."""
        path = self._folder / "allowed.json"
        data = json.loads(path.read_text())
        (entry,) = (each for each in data["allowed"] if each["name"] == name)
        entry |= terms.to_json()
        path.write_text(json.dumps(data))
        self.server.reload()

    def revoke(self, name: str) -> None:
        revoke_key(self._folder, name)
        self.server.reload()

    def secured(self, name: str) -> Secure:
        key = load_peer_key(self._folder / f"{name}.key")
        return lambda socket: secure_with(socket, key)

    def client(self, name: str) -> WirePeer:
        return self._stack.enter_context(toy_client(self.server, self.secured(name)))

    def worker(self, name: str, queue: str = "a") -> WirePeer:
        return self._stack.enter_context(
            toy_worker(self.server, queue, secure=self.secured(name), name=f"node/{name}")
        )


@pytest.fixture(params=["router", "pushpull"])
def keyed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyedBroker]:
    """A broker that was not started yet."""
    folder = tmp_path / "keys"
    init_keys(folder)
    settings = toy_config(keys=str(folder), record=str(tmp_path / "day.jsonl"))
    config = evolve(settings, queues=QUEUES)
    with ExitStack() as stack:
        yield KeyedBroker(
            by_pipes(config) if request.param == "pushpull" else config, folder, stack
        )


@pytest.fixture
def broker(keyed: KeyedBroker) -> KeyedBroker:
    """A broker with two workers' keys and a client's."""
    keyed.start()
    keyed.add("one", "worker")
    keyed.add("two", "worker")
    keyed.add("alice", "client")
    return keyed


def test_a_session_ends_in_words_when_its_key_is_revoked(broker: KeyedBroker) -> None:
    alice, worker = broker.client("alice"), broker.worker("one")
    alice.hear(Welcome)
    worker.hear(WorkerWelcome)

    broker.revoke("alice")
    broker.revoke("one")

    assert alice.hear(Refused).reason == "the key 'alice' was revoked"
    assert worker.hear(Refused).reason == "the key 'one' was revoked"


def test_a_session_ends_in_words_when_its_key_has_expired(broker: KeyedBroker) -> None:
    alice = broker.client("alice")
    alice.hear(Welcome)

    broker.change("alice", PAST)

    assert alice.hear(Refused).reason == "the key 'alice' expired on 2001-09-09 01:46:40 UTC"


def test_what_a_worker_had_not_begun_goes_to_another_when_its_key_has_expired(
    broker: KeyedBroker,
) -> None:
    alice, first = broker.client("alice"), broker.worker("one")
    first.hear(WorkerWelcome)
    request = toy_task()
    alice.say(Submit(request))
    first.hear(Assign)
    second = broker.worker("two", "b")
    second.hear(WorkerWelcome)

    broker.change("one", PAST)

    assert second.hear(Assign).assignments[0].task.id == request.id


def test_a_client_submits_to_the_queues_that_its_key_is_for(broker: KeyedBroker) -> None:
    broker.add("bob", "client", KeyTerms(queues=("b",)))
    bob = broker.client("bob")

    bob.say(Submit(toy_task()))
    assert bob.hear(Accepted).queue == "b"
    bob.say(Submit(toy_task(queue="a")))
    assert bob.hear(Rejected).code == "not_allowed"


def test_a_worker_is_given_tasks_of_the_queues_that_its_key_is_for(broker: KeyedBroker) -> None:
    broker.add("three", "worker", KeyTerms(queues=("b",)))
    alice, stranger = broker.client("alice"), broker.worker("three", "a")
    assert stranger.hear(Refused).reason == "your key allows b, not queue a"
    worker = broker.worker("three", "b")
    worker.hear(WorkerWelcome)

    requests = [toy_task(queue=queue) for queue in ("a", "b")]
    for request in requests:
        alice.say(Submit(request))
        alice.hear(Accepted)

    assert [item.task.id for item in worker.hear(Assign).assignments] == [requests[1].id]


def test_other_terms_of_a_key_hold_from_the_next_reload_on(broker: KeyedBroker) -> None:
    """Whoever is connected is asked to introduce himself anew."""
    alice, worker = broker.client("alice"), broker.worker("one", "a")
    worker.hear(WorkerWelcome)

    broker.change("one", KeyTerms(queues=("b",)))
    worker.hear(WhoAreYou)
    broker.change("alice", KeyTerms(queues=("a",)))
    alice.hear(WhoAreYou)

    again = broker.worker("one", "a")
    assert "not queue a" in again.hear(Refused).reason
    rejected = broker.client("alice")
    rejected.say(Submit(toy_task(queue="b")))
    assert rejected.hear(Rejected).code == "not_allowed"


def test_a_reload_that_changes_nothing_for_a_key_leaves_its_session_alone(
    broker: KeyedBroker,
) -> None:
    alice, one = broker.client("alice"), broker.worker("one")
    broker.add("guest", "client")
    guest = broker.client("guest")
    for peer, welcome in ((alice, Welcome), (guest, Welcome), (one, WorkerWelcome)):
        peer.hear(welcome)

    broker.revoke("guest")
    guest.hear(Refused)  # so all sessions have been looked at

    alice.say(Submit(toy_task()))
    one.hear(Assign)
    assert not any(isinstance(message, WhoAreYou | Refused) for message in alice.put_aside())


def test_what_keys_were_for_is_part_of_a_recorded_day(broker: KeyedBroker) -> None:
    """I17: else the tasks would go to another queue, and another worker, when it is replayed."""
    broker.add("bob", "client", KeyTerms(queues=("b",)))
    broker.add("three", "worker", KeyTerms(queues=("a",)))
    bob, worker = broker.client("bob"), broker.worker("three")
    worker.hear(WorkerWelcome)
    request = toy_task()
    bob.say(Submit(request))
    bob.hear(Accepted)
    broker.server.stop(grace=0.0)

    replayed = replay(broker.record, toy_plugins())

    assert replayed.difference is None
    assert replayed.tasks[request.id].status.queue == "b"
    assert replayed.tasks[request.id].status.attempt == 0


def test_keys_that_an_operator_should_look_at_are_named_at_the_start_and_at_a_reload(
    keyed: KeyedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    keyed.start()
    assert not caplog.messages

    keyed.add("guest", "client", PAST)
    keyed.add("gpu7", "worker", KeyTerms(queues=("nightly",)))

    assert any(each.startswith("key 'guest' expired on 2001-09-09") for each in caplog.messages)
    assert "key 'gpu7' is for the unknown queue 'nightly'; there are a, b" in caplog.messages
