"""What the guard of the gateway lets by, and what it refuses before reading it."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import define, field
from tests.harness.gateway_callers import callers_of, origins_of

from paintmq.gateway import guard as guard_module
from paintmq.gateway import request_body, slots
from paintmq.gateway.asgi import Message, Receive, Scope, Send
from paintmq.gateway.guard import Guard, GuardLimits

TOKEN = "a-token-of-some-length"
SOUND = {"host": "localhost:5580", "authorization": f"Bearer {TOKEN}"}
PICTURE = {**SOUND, "content-type": "image/png"}


@define
class Recorder:
    """An application that keeps what it is shown; it answers with the body's length."""

    bodies: list[bytes] = field(factory=list[bytes])
    entered: asyncio.Event = field(factory=asyncio.Event)
    go: asyncio.Event | None = None
    lifespans: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.lifespans += 1
            return
        self.entered.set()
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        if self.go is not None:
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})


@define
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


def guarded(app: Recorder, **limits: int) -> Guard:
    sizes = {"body": 100, "bodies": 150, "requests": 2} | limits
    return Guard(app, callers_of(TOKEN), origins_of("localhost:5580"), GuardLimits(**sizes))


async def ask(
    guard: Guard,
    headers: dict[str, str],
    *pieces: bytes,
    method: str = "GET",
    length: bool = True,
    receive: Receive | None = None,
) -> Answer:
    if pieces and length:
        headers = {**headers, "content-length": str(sum(map(len, pieces)))}
    waiting: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, start=1)
    ]
    sent: list[Message] = []

    async def receive_next() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    encoded = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
    scope: Scope = {"type": "http", "method": method, "path": "/x", "headers": encoded}
    await guard(scope, receive or receive_next, send)
    start, *rest = sent
    answered = {k.decode(): v.decode() for k, v in start["headers"]}
    return Answer(start["status"], answered, b"".join(each["body"] for each in rest))


def asked(
    headers: dict[str, str], *pieces: bytes, app: Recorder | None = None, **more: Any
) -> Answer:
    return asyncio.run(ask(guarded(app or Recorder()), headers, *pieces, **more))


def test_a_sound_request_is_served_with_careful_headers() -> None:
    app = Recorder()

    answer = asked(PICTURE, b"abc", b"defg", app=app, method="POST")

    assert (answer.status, answer.body, app.bodies) == (200, b"7", [b"abcdefg"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert answer.headers["cache-control"] == "no-store"
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"authorization": None}, 401, "token"),
        ({"authorization": "Bearer "}, 401, "token"),
        ({"authorization": f"Basic {TOKEN}"}, 401, "token"),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401, "token"),
        ({"authorization": f"Bearer {TOKEN}x"}, 401, "token"),
        ({"authorization": "Bearer \xe9"}, 401, "token"),
        ({"host": None}, 403, "host"),
        ({"host": "attacker.example"}, 403, "host"),
        ({"host": "localhost"}, 403, "host"),
        ({"host": "localhost:5580.attacker.example"}, 403, "host"),
        ({"origin": "https://localhost:5580"}, 403, "origin"),
        ({"origin": "http://localhost:5581"}, 403, "origin"),
        ({"origin": "http://localhost:5580.attacker.example"}, 403, "origin"),
        ({"x-forwarded-host": "localhost:5580", "host": "attacker.example"}, 403, "host"),
        ({"origin": "null"}, 403, "origin"),
        ({"content-length": "101"}, 413, "too_large"),
        ({"content-length": "9" * 50}, 413, "too_large"),
        ({"content-length": "-1"}, 400, "length"),
        ({"content-length": "1_0"}, 400, "length"),
    ],
)
def test_what_is_refused_is_refused_before_it_is_read(
    change: dict[str, str | None], status: int, code: str
) -> None:
    app = Recorder()
    headers = {k: v for k, v in {**PICTURE, **change}.items() if v is not None}

    answer = asked(headers, app=app, method="POST")

    assert (answer.status, answer.code, app.bodies) == (status, code, [])
    assert not app.entered.is_set()
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "get", "PROPFIND"])
def test_other_methods_are_refused(method: str) -> None:
    assert asked(SOUND, method=method).status == 405


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_requests_without_a_body_need_no_content_type(method: str) -> None:
    assert asked(SOUND, method=method).status == 200


@pytest.mark.parametrize("pieces", [[b"abc"], [b"abcdef"], [b"abcd", b"efgh"]])
def test_a_body_of_another_length_than_announced_is_refused(pieces: Sequence[bytes]) -> None:
    app = Recorder()

    answer = asked(
        {**PICTURE, "content-length": "5"}, *pieces, app=app, method="POST", length=False
    )

    assert (answer.status, answer.code, app.bodies) == (400, "length", [])


def test_a_body_that_does_not_arrive_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "SLOW_BODY", 0.01)
    monkeypatch.setattr(guard_module, "DRAIN_SECONDS", 0.01)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    answer = asked({**PICTURE, "content-length": "5"}, method="POST", receive=receive)

    assert (answer.status, answer.code) == (408, "slow_body")


def test_a_body_that_trickles_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """F10: one byte every 5 seconds held a place for as long as it liked."""
    monkeypatch.setattr(request_body, "SLOW_BODY", 0.2)
    monkeypatch.setattr(guard_module, "DRAIN_SECONDS", 0.01)

    async def receive() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    answer = asked({**PICTURE, "content-length": "100"}, method="POST", receive=receive)

    assert (answer.status, answer.code) == (408, "slow_body")


def test_a_peer_that_does_not_take_its_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "SLOW_BODY", 0.01)
    guard = guarded(Recorder())

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        await asyncio.Event().wait()

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "headers": [(name.encode(), value.encode()) for name, value in SOUND.items()],
    }
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), 30))

    assert guard.slots.serving == 0


@pytest.mark.parametrize(
    "name", ["host", "authorization", "content-length", "content-type", "Content-Type", "origin"]
)
def test_a_header_that_decides_must_not_come_twice(name: str) -> None:
    """The guard believed the last one, the routes the first."""
    app = Recorder()
    headers = {**PICTURE, "content-length": "1", "origin": "x"}
    twice = [*headers.items(), (name, headers[name.lower()])]
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "headers": [(key.encode(), value.encode()) for key, value in twice],
    }
    asyncio.run(guarded(app)(scope, receive, send))

    assert (sent[0]["status"], app.bodies) == (400, [])


def test_a_websocket_without_a_token_is_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope: Scope = {"type": "websocket", "headers": [(b"host", b"localhost:5580")]}
    asyncio.run(guarded(Recorder())(scope, receive, send))

    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("is_revoked", [True, False])
def test_a_silent_websocket_ends_with_its_token_and_not_before(
    monkeypatch: pytest.MonkeyPatch, is_revoked: bool
) -> None:
    """It said nothing for hours, and so nothing noticed that its user had left the company."""
    monkeypatch.setattr(guard_module, "KNOWN_SECONDS", 0.01)

    async def run() -> list[Message]:
        entered, looked, sent = asyncio.Event(), asyncio.Event(), list[Message]()
        ended = asyncio.Event()

        async def silent(scope: Scope, receive: Receive, send: Send) -> None:
            entered.set()
            try:
                await receive()
            finally:
                ended.set()

        async def receive() -> Message:
            await looked.wait()
            return {"type": "websocket.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        callers = callers_of(TOKEN)
        guard = Guard(silent, callers, origins_of("localhost:5580"), GuardLimits(
            body=1, bodies=1, requests=1))  # fmt: skip
        scope: Scope = {
            "type": "websocket",
            "path": "/v1/ws",
            "headers": [(k.encode(), v.encode()) for k, v in SOUND.items()],
        }
        serving = asyncio.create_task(guard(scope, receive, send))
        await entered.wait()
        looks = 0
        known = type(callers).of

        def of(self: object, headers: Any) -> Any:
            nonlocal looks
            looks += 1
            if looks >= 3:
                looked.set()
            return None if is_revoked else known(callers, headers)

        monkeypatch.setattr(type(callers), "of", of)
        await asyncio.wait_for(serving, 30)
        assert ended.is_set()
        assert guard.slots.waiting == 0
        return sent

    said = asyncio.run(run())

    closed = [{"type": "websocket.close", "code": 1008, "reason": "token"}]
    assert said == (closed if is_revoked else [])


def test_the_applications_life_is_not_guarded() -> None:
    app = Recorder()

    async def nothing(*_: object) -> Any:
        raise AssertionError

    asyncio.run(guarded(app)({"type": "lifespan"}, nothing, nothing))

    assert app.lifespans == 1


def with_one_under_way(
    first: Sequence[bytes], then: Callable[[Guard], Any], **limits: int
) -> Answer:
    """Return the answer to a request that comes while another is served."""

    async def both() -> Answer:
        app = Recorder(go=asyncio.Event())
        guard = guarded(app, **limits)
        under_way = asyncio.create_task(ask(guard, PICTURE, *first, method="POST"))
        await app.entered.wait()
        answer: Answer = await then(guard)
        assert app.go is not None
        app.go.set()
        assert (await under_way).status == 200
        # What was taken up has been given back.
        assert (await then(guard)).status == 200
        return answer

    return asyncio.run(both())


def test_more_requests_at_once_than_allowed_are_told_to_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "LINE_SECONDS", 0.01)

    answer = with_one_under_way([b"x"], lambda guard: ask(guard, SOUND), requests=1)

    assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "busy", "1")


def test_more_bytes_at_once_than_allowed_are_told_to_come_later() -> None:
    answer = with_one_under_way(
        [b"x" * 60],
        lambda guard: ask(guard, PICTURE, b"y" * 60, method="POST"),
        bodies=100,
    )

    assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "busy", "1")


def test_the_token_is_not_shown_where_the_guard_is_printed() -> None:
    assert TOKEN not in repr(guarded(Recorder()))
