"""Who is let in, over real sockets."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from paintmq.errors import ConfigError
from paintmq.identifiers import new_peer_id
from paintmq.statistics import ShellStatistics
from paintmq.transport.curve import (
    CLIENT_PORT,
    WORKER_PORT,
    Authenticator,
    KeyRing,
    public_key_of,
    secure_with,
)
from paintmq.transport.key_files import (
    PeerKey,
    Role,
    add_key,
    init_keys,
    load_peer_key,
    revoke_key,
)
from paintmq.transport.key_terms import KeyTerms
from paintmq.transport.sockets import Context, Socket, bind, dealer, new_context, router

AMPLE = 10_000
"""Milliseconds; nothing waits that long unless it is broken."""
NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    init_keys(folder)
    return folder


@pytest.fixture
def context() -> Iterator[Context]:
    with new_context() as context:
        yield context


class GuardedPort:
    """A secured ROUTER, and dealers that try to reach it."""

    def __init__(
        self, context: Context, folder: Path, port: str, stack: ExitStack, patience: int
    ) -> None:
        self.time = NOW
        self.ring = KeyRing(folder, wall=lambda: int(self.time * 1e9))
        self._context = context
        self._stack = stack
        self.authenticator = Authenticator(context, self.ring)
        self.socket = stack.enter_context(router(context))
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, patience)
        self.ring.secure(self.socket, port)
        self.authenticator.start()
        stack.callback(self.authenticator.stop)
        self._endpoint = bind(self.socket, "127.0.0.1", 0, purpose="clients")

    def greeted_by(self, key: PeerKey | None) -> Socket:
        """Return a connected dealer that has sent a greeting, if it was let in."""
        socket = self._stack.enter_context(dealer(self._context, new_peer_id()))
        if key is not None:
            secure_with(socket, key)
        monitor = socket.get_monitor_socket()
        self._stack.callback(monitor.close)
        self._stack.callback(socket.disable_monitor)
        socket.connect(self._endpoint)
        self.let_in = _handshake(monitor)
        if self.let_in:
            socket.send(b"hello")
        return socket


def _handshake(monitor: "zmq.Socket[bytes]") -> bool:
    from zmq.utils.monitor import recv_monitor_message

    refused = {
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_DISCONNECTED,
        zmq.EVENT_CLOSED,
    }
    while True:
        assert monitor.poll(AMPLE), "no handshake was tried"
        event = recv_monitor_message(monitor)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            return True
        if event in refused:
            return False


@contextmanager
def guarded(
    context: Context, folder: Path, port: str, *, patience: int = AMPLE
) -> Iterator[GuardedPort]:
    with ExitStack() as stack:
        yield GuardedPort(context, folder, port, stack, patience)


@pytest.mark.parametrize(
    ("role", "port", "let_in"),
    [
        ("client", CLIENT_PORT, True),
        ("admin", CLIENT_PORT, True),
        ("worker", CLIENT_PORT, False),
        ("worker", WORKER_PORT, True),
        ("client", WORKER_PORT, False),
        ("admin", WORKER_PORT, False),
        ("admin", "another-port", False),
    ],
)
def test_a_port_takes_the_roles_it_is_for(
    context: Context, folder: Path, role: Role, port: str, let_in: bool
) -> None:
    key = load_peer_key(add_key(folder, "somebody", role, KeyTerms(not_after=NOW + 1)))

    with guarded(context, folder, port) as guard:
        guard.greeted_by(key)

        assert guard.let_in is let_in


def test_a_message_tells_whose_it_is(context: Context, folder: Path) -> None:
    key = load_peer_key(add_key(folder, "laptop", "client"))

    with guarded(context, folder, CLIENT_PORT) as guard:
        guard.greeted_by(key)
        frames = guard.socket.recv_multipart(copy=False)

        public = public_key_of(frames[-1])
        assert public == key.keys.public
        user = guard.ring.user_of(public, CLIENT_PORT)
        assert user is not None
        assert (user.name, user.role) == ("laptop", "client")


def test_a_peer_inside_the_process_has_no_key(context: Context, folder: Path) -> None:
    with (
        guarded(context, folder, CLIENT_PORT) as guard,
        dealer(context, new_peer_id()) as inside,
    ):
        guard.socket.bind("inproc://inside")
        inside.connect("inproc://inside")
        inside.send(b"hello")

        assert public_key_of(guard.socket.recv_multipart(copy=False)[-1]) is None


def test_strangers_are_not_let_in(context: Context, folder: Path, tmp_path: Path) -> None:
    init_keys(tmp_path / "other")
    stranger = load_peer_key(add_key(tmp_path / "other", "stranger", "client"))
    ours = KeyRing(folder).broker.public

    with guarded(context, folder, CLIENT_PORT) as guard:
        guard.greeted_by(PeerKey(stranger.name, stranger.role, stranger.keys, ours))

        assert not guard.let_in


def test_a_peer_without_a_key_is_not_let_in(context: Context, folder: Path) -> None:
    with guarded(context, folder, CLIENT_PORT) as guard:
        guard.greeted_by(None)

        assert not guard.let_in


def test_a_peer_does_not_talk_to_a_broker_that_is_not_its_own(
    context: Context, folder: Path, tmp_path: Path
) -> None:
    init_keys(tmp_path / "other")
    key = load_peer_key(add_key(folder, "laptop", "client"))
    other = KeyRing(tmp_path / "other").broker.public

    with guarded(context, folder, CLIENT_PORT) as guard:
        guard.greeted_by(PeerKey(key.name, key.role, key.keys, other))

        assert not guard.let_in


def test_without_a_handler_nobody_is_let_in(context: Context, folder: Path) -> None:
    key = load_peer_key(add_key(folder, "laptop", "client"))

    # A handshake that nobody decides fails when its time is up, or at once.
    with guarded(context, folder, CLIENT_PORT, patience=100) as guard:
        guard.authenticator.stop()
        guard.greeted_by(key)

        assert not guard.let_in


def test_a_revoked_key_is_refused_also_where_it_is_connected(
    context: Context, folder: Path
) -> None:
    key = load_peer_key(add_key(folder, "laptop", "client"))

    with guarded(context, folder, CLIENT_PORT) as guard:
        connected = guard.greeted_by(key)
        guard.socket.recv_multipart()
        revoke_key(folder, "laptop")
        guard.ring.reload()
        connected.send(b"again")
        frames = guard.socket.recv_multipart(copy=False)

        assert guard.ring.user_of(str(public_key_of(frames[-1])), CLIENT_PORT) is None
        guard.greeted_by(key)
        assert not guard.let_in


def test_a_key_that_has_expired_is_refused_also_where_it_is_connected(
    context: Context, folder: Path
) -> None:
    terms = KeyTerms(not_after=NOW + 90)
    key = load_peer_key(add_key(folder, "laptop", "client", terms))

    with guarded(context, folder, CLIENT_PORT) as guard:
        guard.time = NOW + 89
        connected = guard.greeted_by(key)
        before = guard.ring.edition
        assert guard.let_in
        guard.time = NOW + 90
        guard.socket.recv_multipart()
        connected.send(b"again")
        frames = guard.socket.recv_multipart(copy=False)

        assert guard.ring.user_of(str(public_key_of(frames[-1])), CLIENT_PORT) is None
        assert guard.ring.objection(key.keys.public, CLIENT_PORT) == (
            f"the key 'laptop' expired on {terms.end}"
        )
        assert guard.ring.edition != before
        guard.greeted_by(key)
        assert not guard.let_in


def test_who_was_refused_and_why_is_logged(
    context: Context, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = {
        "its key is not among those that are allowed": add_key(folder, "gone", "client"),
        "has the role worker": add_key(folder, "gpu", "worker"),
        "expired on 2027-01-15": add_key(folder, "old", "client", KeyTerms(not_after=NOW)),
    }
    keys = {words: load_peer_key(path) for words, path in refused.items()}
    revoke_key(folder, "gone")

    with guarded(context, folder, CLIENT_PORT) as guard:
        for words, key in keys.items():
            caplog.clear()
            guard.greeted_by(key)
            assert words in caplog.text


def test_refusals_are_all_counted_but_do_not_flood_the_log(
    context: Context, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expired = load_peer_key(add_key(folder, "old", "client", KeyTerms(not_after=NOW)))
    statistics = ShellStatistics()
    ring = KeyRing(folder, wall=lambda: int(NOW * 1e9))
    authenticator = Authenticator(context, ring, statistics)

    def ask(public: bytes) -> list[bytes]:
        request = [b"1.0", b"7", CLIENT_PORT.encode(), b"10.0.0.9", b"", b"CURVE"]
        return authenticator._answer([*request, z85.decode(public)])

    answers = [ask(b"%040d" % number) for number in range(1000)]
    answers.append(ask(expired.keys.public.encode()))

    assert [answer[2] for answer in answers] == [b"400"] * 1001
    assert statistics.handshakes_refused == 1001
    assert len(caplog.messages) == 10 + 1, "of the 1st, 2nd, 4th … unknown key, and the expired one"
    assert "expired on 2027-01-15" in caplog.messages[-1]


def test_whoever_shows_a_key_that_has_expired_is_told_so_where_he_is(
    context: Context, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with router(context) as socket:
        secure_with(socket, load_peer_key(add_key(folder, "good", "client")))
        assert not caplog.messages

        terms = KeyTerms(not_after=1_000_000_000.0)
        secure_with(socket, load_peer_key(add_key(folder, "old", "client", terms)))
        assert caplog.messages == [
            "the key 'old' expired on 2001-09-09 01:46:40 UTC: ask for a new one"
        ]


def test_a_second_handler_in_one_context_is_refused(context: Context, folder: Path) -> None:
    ring = KeyRing(folder)
    with ExitStack() as stack:
        first, second = Authenticator(context, ring), Authenticator(context, ring)
        first.start()
        stack.callback(first.stop)

        with pytest.raises(ConfigError, match="ZAP handler already"):
            second.start()
        second.stop()


def test_a_request_that_is_none_is_refused(context: Context, folder: Path) -> None:
    with guarded(context, folder, CLIENT_PORT), context.socket(zmq.REQ) as asking:
        asking.connect("inproc://zeromq.zap.01")

        asking.send_multipart([b"1.0"])
        assert asking.recv_multipart()[2] == b"400"
        asking.send_multipart([b"1.0", b"7", b"d", b"a", b"i", b"PLAIN", b"user", b"password"])
        assert asking.recv_multipart()[1:3] == [b"7", b"400"]
