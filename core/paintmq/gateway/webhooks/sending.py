"""One attempt: a POST to an address that was checked, with an end in time whatever the peer does.

The name is resolved once, each of its addresses is checked, and the connection is made to a checked
address itself: a name that is resolved to something else a moment later (DNS rebinding) changes
nothing. The certificate is checked against the name.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

import h11

from paintmq.gateway.webhooks.hook import Attempt
from paintmq.gateway.webhooks.hosts import Target, WebhookHosts

ATTEMPT_SECONDS = 15.0
"""For all of it: to resolve, to connect, to send, and to read the head of the answer."""
_PIECE = 16 * 1024


async def post(hosts: WebhookHosts, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
    """Send the body to the URL and return what came of it."""
    try:
        target = hosts.target(url)
    except ValueError as error:
        return Attempt(error=str(error), is_final=True)
    try:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            addresses = await _checked_addresses(hosts, target)
            answer = await _exchange(target, addresses, body, headers)
    except TimeoutError:
        return Attempt(error=f"no answer within {ATTEMPT_SECONDS:.0f} s")
    except ValueError as error:
        return Attempt(error=str(error))
    except ssl.SSLError as error:
        return Attempt(error=f"TLS: {error.reason or error}"[:200])
    except socket.gaierror:
        return Attempt(error=f"{target.host} is no known name")
    except OSError as error:
        # Not its own text, which for several addresses names a socket call and each of them.
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        return Attempt(error=f"{target.origin} cannot be reached: {reason}")
    except h11.RemoteProtocolError:
        return Attempt(error="the answer is no HTTP, or not whole")
    return _judged(answer)


async def _checked_addresses(hosts: WebhookHosts, target: Target) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    good: list[str] = []
    problem = ValueError(f"{target.host} has no address")
    for *_, place in found:
        try:
            hosts.check_address(target.host, str(place[0]))
            good.append(str(place[0]))
        except ValueError as error:
            problem = error
    if not good:
        raise problem
    return good


async def _connection(
    target: Target, addresses: list[str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = _tls() if target.scheme == "https" else None
    name = target.host if tls else None
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return await asyncio.open_connection(
                address, target.port, ssl=tls, server_hostname=name, limit=_PIECE
            )
    return await asyncio.open_connection(
        last, target.port, ssl=tls, server_hostname=name, limit=_PIECE
    )


async def _exchange(
    target: Target, addresses: list[str], body: bytes, headers: Mapping[str, str]
) -> h11.Response:
    reader, writer = await _connection(target, addresses)
    try:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_PIECE)
        request = h11.Request(
            method="POST",
            target=target.path,
            headers=[
                ("host", target.authority),
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
                *headers.items(),
            ],
        )
        for part in (request, h11.Data(body), h11.EndOfMessage()):
            writer.write(http.send(part) or b"")
        await writer.drain()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(_PIECE))
            elif isinstance(event, h11.Response):
                return event
    finally:
        writer.transport.abort()  # what else it has to say is not read


def _judged(answer: h11.Response) -> Attempt:
    status = answer.status_code
    if 200 <= status < 300:
        return Attempt()
    after = next((value for name, value in answer.headers if name == b"retry-after"), b"")
    if 300 <= status < 400:
        return Attempt(error=f"it answers {status}; redirects are not followed")
    seconds = float(after[:9]) if after.isdigit() else None
    # "410: the sender should disable the endpoint" -- Standard Webhooks
    return Attempt(error=f"it answers {status}", retry_after=seconds, is_final=status == 410)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
