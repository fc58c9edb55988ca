"""I24 over real sockets: two clients with keys of their own, an admin, and workers of two keys."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
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
from zmq.utils.monitor import recv_monitor_message

from paintmq.broker.shell.server import BrokerServer
from paintmq.cli.app import run_command_line
from paintmq.client.client import Client
from paintmq.client.task import Task
from paintmq.config import Config
from paintmq.errors import TaskRejectedError, TaskUnknownError
from paintmq.task_ids import task_id_for_key
from paintmq.testing.example_tasks import PATIENCE
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import LOCAL_ADMIN, add_key, init_keys, load_peer_key
from paintmq.transport.key_terms import KeyTerms
from paintmq.transport.sockets import new_context, pull
from paintmq.wire.messages import (
    Abandon,
    Accepted,
    Answer,
    Ask,
    Assign,
    AttemptRecorded,
    AttemptSucceeded,
    Finished,
    Heartbeat,
    Query,
    Rejected,
    Submit,
    UnknownTask,
    Welcome,
    WorkerWelcome,
)


class OwnedBroker:
    """A broker with the keys of a folder, and a journal on disk."""

    def __init__(
        self, tmp_path: Path, stack: ExitStack, change: Callable[[Config], Config] = lambda it: it
    ) -> None:
        self.folder = tmp_path / "keys"
        init_keys(self.folder)
        add_key(self.folder, "alice", "client")
        add_key(self.folder, "bob", "client", KeyTerms(tenant="bobs", max_priority=3, quota=1))
        add_key(self.folder, "one", "worker")
        add_key(self.folder, "two", "worker")
        config = change(toy_config(tmp_path / "journal", keys=str(self.folder)))
        self.server = BrokerServer(config, toy_plugins())
        self.server.start()
        stack.callback(self.server.stop, grace=0.0)
        self._stack = stack

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def peer(self, name: str) -> WirePeer:
        key = load_peer_key(self.key(name))
        peer = toy_client(self.server, lambda socket: secure_with(socket, key))
        self._stack.enter_context(peer).hear(Welcome)
        return peer

    def worker(self, key_name: str, name: str) -> WirePeer:
        key = load_peer_key(self.key(key_name))
        worker = toy_worker(self.server, secure=lambda socket: secure_with(socket, key), name=name)
        return self._stack.enter_context(worker)

    def client(self, name: str) -> Client:
        client = Client(self.server.client_endpoint, key=self.key(name))
        self._stack.callback(client.close)
        return client


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[OwnedBroker]:
    with ExitStack() as stack:
        yield OwnedBroker(tmp_path, stack)


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[OwnedBroker]:
    """The same with the ``pushpull`` transport."""
    with ExitStack() as stack:
        yield OwnedBroker(tmp_path, stack, by_pipes)


def test_a_task_is_there_for_its_owner_and_admins_alone(owned: OwnedBroker) -> None:
    """I24: also its story, which the shell tells and not the machine."""
    alice, bob, admin = owned.peer("alice"), owned.peer("bob"), owned.peer(LOCAL_ADMIN)
    task = toy_task()
    alice.say(Submit(task))
    alice.hear(Accepted)

    bob.say(Query((task.id,)))
    assert bob.hear(UnknownTask).task_id == task.id
    admin.say(Query((task.id,)))
    assert admin.hear(Accepted).task_id == task.id
    for peer, is_told in ((alice, True), (admin, True), (bob, False)):
        for subject in ("why", "story"):
            peer.say(Ask(request_id=1, subject=subject, arguments={"task_id": task.id}))
            answer = peer.hear(Answer)
            assert (answer.error == "") is is_told
            assert is_told or answer.error.startswith(f"no task '{task.id}'")


def test_an_admin_is_told_whose_task_it_is(
    owned: OwnedBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, settings = owned.peer("alice"), tmp_path / "admin.toml"
    settings.write_text(f'[broker]\nkey = "{owned.key(LOCAL_ADMIN)}"\n')
    task = toy_task()
    alice.say(Submit(task))
    alice.hear(Accepted)

    endpoint = owned.server.client_endpoint
    assert run_command_line(["why", task.id, "--connect", endpoint, "-c", str(settings)]) == 0
    assert ", priority 0, owner alice, accepted " in capsys.readouterr().out


def test_an_idempotency_key_is_one_for_each_owner(owned: OwnedBroker) -> None:
    """I24: a client with a key makes the id with its mark; no other can compute and take it."""
    order = Task("plugin", {"model": "toy"}, idempotency_key="order-17")
    alice, bob, alice_again = (owned.client(name) for name in ("alice", "bob", "alice"))
    of_alice, of_bob = alice.submit(order), bob.submit(order)
    again = alice_again.submit(order)
    for client, handle in ((alice, of_alice), (bob, of_bob), (alice_again, again)):
        assert client.ask("why", task_id=handle.id), "it was accepted"

    assert of_alice.id == again.id == task_id_for_key("", "order-17", owner="alice")
    assert of_bob.id == task_id_for_key("", "order-17", owner="bob")
    with pytest.raises(TaskUnknownError):
        bob.fetch(of_alice.id).result(timeout=20.0)
    squatter = bob.submit(evolve(order, id=of_alice.id, idempotency_key=None))
    with pytest.raises(TaskRejectedError, match="not for tasks of your key 'bob'"):
        squatter.result(timeout=20.0)


def test_a_key_limits_what_its_tasks_claim(owned: OwnedBroker) -> None:
    bob = owned.peer("bob")
    bob.say(Submit(toy_task(priority=4)))
    assert bob.hear(Rejected).reason == "your key allows priorities up to 3, not 4"
    bob.say(Submit(toy_task(tenant="acme")))
    assert "is for the tenant 'bobs'" in bob.hear(Rejected).reason
    bob.say(Submit(toy_task(priority=3)))
    task_id = bob.hear(Accepted).task_id
    bob.say(Submit(toy_task()))
    assert "allows 1 unfinished tasks" in bob.hear(Rejected).reason

    bob.say(Ask(request_id=1, subject="why", arguments={"task_id": task_id}))

    told = bob.hear(Answer).value
    assert isinstance(told, dict)
    assert isinstance(told["task"], dict)
    assert (told["task"]["tenant"], told["task"]["owner"]) == ("bobs", "bob")


def test_a_result_is_taken_only_from_the_worker_that_was_given_the_task(
    owned: OwnedBroker,
) -> None:
    """I24: the other knows task and fence, and would take its name."""
    alice, worker = owned.peer("alice"), owned.worker("one", "node/cpu-0")
    worker.hear(WorkerWelcome)
    alice.say(Submit(toy_task()))
    (item,) = worker.hear(Assign).assignments
    namesake = owned.worker("two", "node/cpu-0")
    namesake.hear(WorkerWelcome)
    forged = AttemptSucceeded(task_id=item.task.id, fence=item.fence, outputs=(), ran=7.0)
    namesake.say(Heartbeat(running=((item.task.id, item.fence),)))
    namesake.hear(Abandon)
    namesake.say(forged)
    namesake.hear(AttemptRecorded)
    alice.say(Query((item.task.id,)))
    alice.hear(Accepted)
    assert alice.hear(Accepted).task_id == item.task.id, "it has not ended"

    worker.say(forged)

    assert alice.hear(Finished).worker == "node/cpu-0"


def test_a_result_in_the_shared_pipe_counts_only_with_the_key_of_its_connection(
    piped: OwnedBroker,
) -> None:
    """I24: the other worker names the connection of the one that was given the task."""
    alice, worker = piped.peer("alice"), piped.worker("one", "node/cpu-0")
    worker.hear(WorkerWelcome)
    alice.say(Submit(toy_task()))
    (item,) = worker.hear(Assign).assignments
    other = piped.worker("two", "node/cpu-1")
    other.hear(WorkerWelcome)
    alice.say(Submit(toy_task()))
    (own,) = other.hear(Assign).assignments
    forged = AttemptSucceeded(task_id=item.task.id, fence=item.fence, outputs=(), ran=7.0)
    own_id, other._connection._peer = other._connection._peer, worker.id
    other.say(forged)
    other._connection._peer = own_id
    other.say(evolve(forged, task_id=own.task.id, fence=own.fence))
    assert other.hear(AttemptRecorded).task_id == own.task.id, "and the forged one before it"

    assert alice.hear(Finished).task_id == own.task.id
    worker.say(forged)
    assert alice.hear(Finished).worker == "node/cpu-0"


def test_the_pipe_of_a_worker_opens_for_its_key_alone(piped: OwnedBroker) -> None:
    """I24: whoever connects to it gets every other task, with its pictures."""
    worker = piped.worker("one", "node/cpu-0")
    port = worker.hear(WorkerWelcome).tasks_port
    with new_context() as context, pull(context, connects=True) as thief:
        events = thief.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED
        )
        secure_with(thief, load_peer_key(piped.key("two")))
        thief.connect(f"tcp://127.0.0.1:{port}")
        assert events.poll(int(PATIENCE * 1000))
        event = recv_monitor_message(events)["event"]
        thief.disable_monitor()
        events.close()

    assert event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
