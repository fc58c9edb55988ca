"""Why a connection comes to nothing: each cause in its own words, and what to do."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from tests.harness.toy_broker import toy_config, toy_plugins

from paintmq import Client
from paintmq.broker.shell.server import BrokerServer
from paintmq.transport.handshake import why_refused
from paintmq.transport.key_files import add_key, init_keys, load_peer_key, revoke_key

PATIENCE = 10.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    init_keys(folder)
    for name, role in (("alice", "client"), ("gone", "client"), ("vm", "worker")):
        add_key(folder, name, role)  # type: ignore[arg-type]  # both are roles
    kept = (folder / "gone.key").read_bytes()
    revoke_key(folder, "gone")
    (folder / "gone.key").write_bytes(kept)
    (folder / "gone.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def keyed(keys: Path) -> Iterator[str]:
    with BrokerServer(toy_config(keys=str(keys)), toy_plugins()) as server:
        yield server.client_endpoint


@pytest.fixture(scope="module")
def keyless() -> Iterator[str]:
    with BrokerServer(toy_config(), toy_plugins()) as server:
        yield server.client_endpoint


@pytest.mark.parametrize("name", ["gone", "vm"])
def test_a_key_that_is_refused_is_named_with_the_likely_causes(
    keys: Path, keyed: str, name: str
) -> None:
    said = why_refused(keyed, load_peer_key(keys / f"{name}.key"), PATIENCE)

    assert said.startswith(f"it refuses the key {name!r} (broker.key): revoked, expired")
    assert "paintmq keys list" in said


def test_a_key_file_of_another_broker_is_told_as_that(keys: Path, keyed: str) -> None:
    alice = load_peer_key(keys / "alice.key")

    said = why_refused(keyed, evolve(alice, broker=alice.keys.public), 1.0)

    assert "has not the identity that the key file of 'alice' names" in said
    assert "new key file" in said


def test_a_broker_that_asks_for_a_key_says_where_to_name_it(keyed: str) -> None:
    assert "it asks for a key" in why_refused(keyed, None, PATIENCE)


def test_that_it_asks_for_a_key_is_told_however_quickly_it_hangs_up(keyed: str) -> None:
    """Each second try or so, ZeroMQ has not read its greeting before it is gone."""
    said = {why_refused(keyed, None, PATIENCE) for _ in range(20)}

    assert said == {"it asks for a key: name yours with broker.key (PAINTMQ_BROKER__KEY=FILE)"}


def test_what_greets_as_nothing_known_is_no_zeromq_or_asks_for_a_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            for _ in range(2):  # ZeroMQ's own try, and the look at the greeting
                connection, _ = other.accept()
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                connection.close()
            other.close()

        answering = threading.Thread(target=answer)
        answering.start()
        said = why_refused(f"tcp://127.0.0.1:{other.getsockname()[1]}", None, 1.0)
        answering.join()

    assert said == "it speaks no ZeroMQ, or asks for a key (broker.key)"


def test_a_key_shown_to_a_broker_without_keys_is_one_too_many(keys: Path, keyless: str) -> None:
    said = why_refused(keyless, load_peer_key(keys / "alice.key"), PATIENCE)

    assert "it asks for no key, and is shown 'alice'" in said


def test_a_broker_that_shakes_hands_and_says_nothing_is_stopped_or_busy(keyless: str) -> None:
    assert "stopped or overloaded" in why_refused(keyless, None, PATIENCE)


def test_of_what_says_nothing_nothing_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert why_refused(f"tcp://127.0.0.1:{mute.getsockname()[1]}", None, 0.2) == ""


def test_a_client_that_waits_is_told_why(keys: Path, keyed: str) -> None:
    with (
        Client(keyed, key=keys / "gone.key") as client,
        pytest.raises(TimeoutError, match="it refuses the key 'gone'"),
    ):
        client.connect(timeout=0.5)
