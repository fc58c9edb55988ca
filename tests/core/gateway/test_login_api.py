"""Signing in with a browser: by token, by one-time link, and never by another site's doing."""

import asyncio
import json
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from attrs import define, evolve, frozen
from tests.harness.gateway_callers import callers_of, origins_of

pytest.importorskip("starlette", reason="needs paintmq[http]")

from starlette.applications import Starlette

from paintmq.gateway.callers import Callers
from paintmq.gateway.guard import Guard, GuardLimits
from paintmq.gateway.login_api import login_api
from paintmq.gateway.mounting import ERROR_ANSWERS
from paintmq.gateway.sessions import LoginLinks
from paintmq.gateway.tokens import Token

OPERATOR = "the-operators-own-token"
NOW = 2e9


@frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def cookie(self) -> str:
        """Return what a browser would send back."""
        jar: SimpleCookie = SimpleCookie(self.headers.get("set-cookie", ""))
        return "; ".join(f"{name}={each.value}" for name, each in jar.items())


@define
class Door:
    callers: Callers

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        api = login_api(self.callers)
        limits = GuardLimits(body=100_000, bodies=100_000, requests=2)
        app = Starlette(routes=list(api.routes), exception_handlers=ERROR_ANSWERS)
        guard = Guard(app, self.callers, origins_of("here"), limits, [api])
        path, _, query = path.partition("?")
        given = {"host": "here", "content-length": str(len(body))}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(guard(scope, receive, send))
        start, *rest = sent
        got = {bytes(k).decode(): bytes(v).decode() for k, v in start["headers"]}
        return Answer(start["status"], got, b"".join(each["body"] for each in rest))

    def sign_in(self, **headers: str) -> Answer:
        form = {"content_type": "application/x-www-form-urlencoded"}
        return self.ask(
            "POST", "/login", urlencode({"token": "annas-token"}).encode(), **form, **headers
        )


@pytest.fixture
def door(tmp_path: Path) -> Door:
    known = callers_of(OPERATOR, **{"annas-token": Token(name="anna", hash="")})
    return Door(evolve(known, links=LoginLinks(tmp_path / "links"), clock=lambda: NOW))


def test_a_token_is_exchanged_for_a_cookie_that_no_script_or_site_can_use(door: Door) -> None:
    answer = door.sign_in()

    assert (answer.status, answer.headers["location"]) == (303, "/")
    set_cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in set_cookie
    assert "samesite=strict" in set_cookie
    assert "annas-token" not in set_cookie
    me = door.ask("GET", "/v1/me", cookie=answer.cookie)
    assert json.loads(me.body)["name"] == "anna"


def test_a_program_signs_in_with_json(door: Door) -> None:
    body = b'{"token": "annas-token"}'

    answer = door.ask("POST", "/login", body, content_type="application/json")

    assert (answer.status, json.loads(answer.body)) == (200, {"name": "anna", "role": "user"})
    assert answer.cookie


@pytest.mark.parametrize(
    "body", [b'{"token": "wrong"}', b"{}", b'{"ticket": "x"}', b'{"token": 3}']
)
def test_a_wrong_token_signs_nobody_in(door: Door, body: bytes) -> None:
    answer = door.ask("POST", "/login", body)

    assert (answer.status, answer.cookie) == (401, "")


@pytest.mark.parametrize("body", [b"\xff", b"[" * 5_000, b"[]", b"x" * 9_000])
def test_what_is_no_sign_in_is_refused(door: Door, body: bytes) -> None:
    assert door.ask("POST", "/login", body).status in (400, 413)


@pytest.mark.parametrize("origin", ["http://elsewhere", "null", "https://here"])
def test_another_sites_page_can_neither_sign_in_nor_use_the_cookie(door: Door, origin: str) -> None:
    held = door.sign_in().cookie

    assert door.sign_in(origin=origin).status == 403
    assert door.ask("GET", "/v1/me", cookie=held, origin=origin).status == 403
    assert door.ask("GET", "/v1/me", cookie=held, sec_fetch_site="cross-site").status == 403
    assert door.ask("GET", "/v1/me", cookie=held, origin="http://here").status == 200


def links(door: Door) -> LoginLinks:
    assert door.callers.links is not None
    return door.callers.links


def test_a_link_that_its_user_opens_signs_in_once(door: Door) -> None:
    ticket = links(door).make("anna", now=NOW)

    answer = door.ask("GET", f"/login?ticket={ticket}", sec_fetch_site="none")

    assert answer.status == 303
    me = door.ask("GET", "/v1/me", cookie=answer.cookie)
    assert json.loads(me.body)["name"] == "anna"
    again = door.ask("GET", f"/login?ticket={ticket}", sec_fetch_site="none")
    assert (again.status, again.cookie) == (410, "")


@pytest.mark.parametrize("site", ["cross-site", "same-site", ""])
def test_a_link_that_another_page_or_a_preview_opens_asks_first(door: Door, site: str) -> None:
    ticket = links(door).make("anna", now=NOW)
    headers: dict[str, Any] = {"sec_fetch_site": site} if site else {}

    for _ in range(2):
        answer = door.ask("GET", f"/login?ticket={ticket}", **headers)
        assert (answer.status, answer.cookie) == (200, "")
        assert b"Sign in as anna" in answer.body
    form = urlencode({"ticket": ticket}).encode()
    kind = "application/x-www-form-urlencoded"
    assert door.ask("POST", "/login", form, content_type=kind).cookie
    assert not door.ask("POST", "/login", form, content_type=kind).cookie


def test_a_link_ends_after_minutes_and_with_its_token(door: Door) -> None:
    late = links(door).make("anna", now=NOW - 601)
    nobodys = links(door).make("bert", now=NOW)

    for ticket in (late, nobodys, "made-up", "../../etc/passwd"):
        answer = door.ask("GET", f"/login?ticket={ticket}", sec_fetch_site="none")
        assert (answer.status, answer.cookie) == (410, "")


@pytest.mark.parametrize(
    ("wanted", "after"),
    [
        ("/studio?x=1", "/studio?x=1"),
        ("//elsewhere.example", "/"),
        ("https://elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("/a\nb", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_our_own_pages_alone(door: Door, wanted: str, after: str) -> None:
    body = urlencode({"token": "annas-token", "next": wanted}).encode()

    answer = door.ask("POST", "/login", body, content_type="application/x-www-form-urlencoded")

    assert answer.headers["location"] == after


def test_what_a_stranger_puts_into_the_page_is_text(door: Door) -> None:
    answer = door.ask("GET", "/login?next=/%22%3E%3Cscript%3E")

    assert b"<script" not in answer.body


def test_signing_out_forgets_the_cookie(door: Door) -> None:
    held = door.sign_in().cookie

    answer = door.ask("POST", "/logout", cookie=held)

    assert answer.status == 303
    assert "max-age=0" in answer.headers["set-cookie"].lower()
