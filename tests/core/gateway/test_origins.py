"""Hosts, origins, CORS and what proxies say."""

import asyncio
from typing import Any

import pytest
from tests.harness.gateway_callers import callers_of

from paintmq.errors import ConfigError
from paintmq.gateway.guard import Guard, GuardLimits
from paintmq.gateway.origins import Origins, checked_origins
from paintmq.http_api import HttpApi

TOKEN = "a-token-of-some-length"


def guard(scopes: list[Any], **origins: Any) -> Guard:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    fields = {"hosts": frozenset({"here", "public.example"})} | origins
    limits = GuardLimits(body=1, bodies=1, requests=1)
    api = HttpApi(name="all", routes=[], prefixes=("/",), challenge="Login")
    return Guard(app, callers_of(TOKEN), Origins(**fields), limits, [api])


def ask(
    method: str = "GET", path: str = "/x", *, client: str = "10.1.2.3", **more: Any
) -> tuple[int, dict[str, str], Any]:
    """Return the status, the headers, and the scope as the application saw it."""
    origins = {name: more.pop(name) for name in list(more) if name in Origins.__annotations__}
    given = {"host": "here", "authorization": f"Bearer {TOKEN}"}
    given |= {name.replace("_", "-"): value for name, value in more.items()}
    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "client": (client, 1),
        "headers": [(k.encode(), v.encode()) for k, v in given.items() if v],
    }
    sent: list[Any] = []
    scopes: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    asyncio.run(guard(scopes, **origins)(scope, receive, send))
    headers = {bytes(k).decode(): bytes(v).decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], headers, scopes[0] if scopes else None


def test_a_page_of_ours_passes_and_gets_no_headers_for_others() -> None:
    status, headers, _ = ask(origin="http://here")

    assert status == 200
    assert not any(name.startswith("access-control") for name in headers)


def test_behind_a_proxy_our_page_may_call_itself_https() -> None:
    assert ask(origin="https://here")[0] == 403
    assert ask(origin="https://here", any_scheme=True)[0] == 200
    assert ask(origin="https://here.example", any_scheme=True)[0] == 403


def test_a_page_of_a_named_origin_asks_first_and_then_reads_the_answer() -> None:
    named: dict[str, Any] = {
        "origins": frozenset({"https://studio.example"}),
        "origin": "https://studio.example",
    }

    status, headers, seen = ask(
        "OPTIONS",
        access_control_request_method="POST",
        access_control_request_headers="authorization, content-type, idempotency-key",
        authorization="",
        **named,
    )
    assert (status, seen) == (204, None)
    assert headers["access-control-allow-origin"] == "https://studio.example"
    assert "POST" in headers["access-control-allow-methods"]
    assert "idempotency-key" in headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in headers

    status, headers, _ = ask(**named)
    assert status == 200
    assert headers["access-control-allow-origin"] == "https://studio.example"
    assert "location" in headers["access-control-expose-headers"]

    status, headers, _ = ask(authorization="Bearer wrong", **named)
    assert status == 401
    assert headers["access-control-allow-origin"] == "https://studio.example", "to read why"


@pytest.mark.parametrize("origin", ["https://other.example", "https://studio.example.evil", "null"])
def test_a_page_of_another_origin_is_not_told_that_it_may(origin: str) -> None:
    status, headers, _ = ask(
        "OPTIONS",
        origin=origin,
        access_control_request_method="POST",
        origins=frozenset({"https://studio.example"}),
    )

    assert status == 403
    assert not any(name.startswith("access-control") for name in headers)


def test_options_that_ask_nothing_are_refused() -> None:
    assert ask("OPTIONS")[0] == 405


@pytest.mark.parametrize(
    "text", ["studio.example", "https://", "ftp://x", "https://x/", "https://*.example", "*"]
)
def test_what_is_no_origin_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no origin"):
        checked_origins([text])


def test_only_a_trusted_proxy_says_what_the_request_was() -> None:
    said = {
        "x_forwarded_host": "evil.example, public.example",
        "x_forwarded_proto": "http, https",
        "x_forwarded_prefix": "/paint",
        "host": "inside",
    }

    status, _, scope = ask(proxies=("10.0.0.0/8",), **said)
    assert status == 200
    address = scope["state"]["address"]
    assert (address.host, address.scheme, address.prefix) == ("public.example", "https", "/paint")

    assert ask(proxies=("10.0.0.0/8",), client="192.0.2.1", **said)[0] == 403
    assert ask(**said)[0] == 403
    with pytest.raises(ConfigError, match="trusted_proxies"):
        Origins(hosts=frozenset(), proxies=("nonsense",))


@pytest.mark.parametrize("prefix", ["//evil.example", "evil", ""])
def test_a_prefix_that_is_no_path_is_not_believed(prefix: str) -> None:
    _, _, scope = ask(
        proxies=("10.0.0.0/8",), x_forwarded_prefix=prefix, host="here", root_path="/own"
    )

    assert scope["root_path"] == "/own"


@pytest.mark.parametrize("path", ["/paint/v1/models", "/v1/models"])
def test_the_path_before_ours_may_or_may_not_be_cut_off_by_the_proxy(path: str) -> None:
    _, _, scope = ask(path=path, root_path="/paint")

    assert (scope["root_path"], scope["path"]) == ("/paint", "/paint/v1/models")


def test_a_browser_that_opens_a_page_without_a_token_is_sent_to_sign_in() -> None:
    page: dict[str, Any] = {"authorization": "", "accept": "text/html", "root_path": "/paint"}

    status, headers, _ = ask(path="/paint/studio", **page)
    assert (status, headers["location"]) == (303, "/paint/login?next=%2Fstudio")
    assert ask("POST", **page)[0] == 401
    assert ask(authorization="")[0] == 401
