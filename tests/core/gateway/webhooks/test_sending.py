"""One attempt, against real servers on loopback that behave in every way."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("h11", reason="needs paintmq[http]")

from paintmq.gateway.webhooks import sending
from paintmq.gateway.webhooks.hook import Attempt
from paintmq.gateway.webhooks.hosts import WebhookHosts

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def attempt(
    answering: Answering, *, entries: tuple[str, ...] = (), host: str = "127.0.0.1", path: str = "/"
) -> tuple[Attempt, bytes]:
    """Send one webhook to a server that answers so; return what came of it, and what it read."""
    read: list[bytes] = []
    serving: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        read.append(head + await reader.readexactly(7))
        with suppress(OSError):  # it hangs up once it has read enough
            await answering(reader, writer)
            writer.close()
            await writer.wait_closed()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(answer(reader, writer)))

    async def run() -> Attempt:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            hosts = WebhookHosts.of([f"http://{host}:{port}", *entries])
            headers = {"webhook-id": "1"}
            made = await sending.post(hosts, f"http://{host}:{port}{path}", b'{"a":1}', headers)
            await asyncio.gather(*serving)
            return made

    return asyncio.run(run()), b"".join(read)


def saying(text: str) -> Answering:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode())
        await writer.drain()

    return answer


def test_an_answer_of_2xx_is_success_and_the_request_is_whole() -> None:
    made, read = attempt(saying("HTTP/1.1 204 No Content\r\n\r\n"), path="/in?k=1")

    assert made == Attempt()
    assert read.startswith(b"POST /in?k=1 HTTP/1.1\r\n")
    assert read.endswith(b'\r\n\r\n{"a":1}')
    for line in (b"content-length: 7", b"content-type: application/json", b"webhook-id: 1"):
        assert line in read.lower()


def test_a_hint_before_the_answer_is_not_the_answer() -> None:
    made, _ = attempt(saying("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"))

    assert made == Attempt()


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    made, _ = attempt(saying("HTTP/1.1 307 X\r\nlocation: http://169.254.169.254/\r\n\r\n"))

    assert made.error == "it answers 307; redirects are not followed"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("HTTP/1.1 500 X\r\n\r\n", "it answers 500"),
        ("", "no HTTP"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nx: " + "y" * 100_000, "no HTTP"),
    ],
    ids=["error", "nothing", "other protocol", "endless head"],
)
def test_anything_else_is_a_failure_that_says_what_was_wrong(answer: str, words: str) -> None:
    made, _ = attempt(saying(answer))

    assert words in made.error
    assert not made.is_final


def test_a_receiver_says_when_to_come_again_and_when_never() -> None:
    later, _ = attempt(saying("HTTP/1.1 429 X\r\nretry-after: 77\r\n\r\n"))
    never, _ = attempt(saying("HTTP/1.1 410 Gone\r\n\r\n"))

    assert (later.retry_after, later.is_final) == (77.0, False)
    assert never.is_final


def test_a_receiver_that_says_nothing_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 0.05)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert "no answer within" in attempt(never)[0].error


def test_a_name_that_points_inside_is_called_only_if_that_address_is_named() -> None:
    """DNS rebinding: whatever a name was when it was allowed, the address itself is judged."""
    answer = saying("HTTP/1.1 200 OK\r\n\r\n")

    refused, read = attempt(answer, host="localhost")
    allowed, _ = attempt(answer, host="localhost", entries=("127.0.0.0/8", "[::1]"))

    assert "no public address" in refused.error
    assert read == b""
    assert allowed == Attempt()


def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name is resolved once: what it is a moment later has no bearing."""
    asked: list[str] = []

    async def once(self: object, host: str, port: int, **more: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", once)
    # asyncio's own connect resolves again, but is given an address and not the name
    made, _ = attempt(
        saying("HTTP/1.1 200 OK\r\n\r\n"), host="rebinds.example", entries=("127.0.0.1",)
    )

    assert made == Attempt()
    assert asked.count("rebinds.example") == 1


def test_nothing_is_sent_to_a_host_that_is_no_longer_allowed() -> None:
    made = asyncio.run(
        sending.post(WebhookHosts.of(["other.example"]), "https://h.example/", b"", {})
    )

    assert made.is_final
    assert "not among the hosts" in made.error


def test_a_port_without_a_server_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    hosts = WebhookHosts.of([f"http://127.0.0.1:{port}"])

    made = asyncio.run(sending.post(hosts, f"http://127.0.0.1:{port}/", b"", {}))

    assert made.error == f"http://127.0.0.1:{port} cannot be reached: Connection refused"
