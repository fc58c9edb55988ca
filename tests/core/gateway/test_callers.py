"""Credentials: which headers stand for whom."""

import base64

import pytest
from tests.harness.gateway_callers import SECRET, callers_of

from paintmq.gateway.sessions import cookie_name, session_of
from paintmq.gateway.tokens import Token, hash_of, operator

OPERATOR = "the-operators-own-token"
ANNA = Token(name="anna", hash=hash_of(b"annas-token"))


def basic(user: str, password: str) -> dict[str, bytes]:
    return {"authorization": b"Basic " + base64.b64encode(f"{user}:{password}".encode())}


def name_of(headers: dict[str, bytes]) -> str | None:
    caller = callers_of(OPERATOR, **{"annas-token": ANNA}).of(headers)
    return None if caller is None else caller.name


def test_a_token_comes_as_bearer_or_as_the_password_of_basic() -> None:
    assert name_of({"authorization": b"Bearer annas-token"}) == "anna"
    assert name_of({"authorization": b"bearer  annas-token "}) == "anna"
    assert name_of(basic("whoever", "annas-token")) == "anna"
    assert name_of(basic("", OPERATOR)) == "operator"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic",
        b"Basic annas-token",
        b"Basic " + base64.b64encode(b"annas-token"),
        b"Basic !!!",
        b"Digest annas-token",
        b"Bearer annas-token2",
        b"Bearer " + hash_of(b"annas-token").encode(),
        b"Bearer \xff\xfe",
    ],
)
def test_what_is_no_token_is_nobody(header: bytes) -> None:
    assert name_of({"authorization": header}) is None


def cookie(token: Token, *, now: float = 1e15, secret: bytes = SECRET) -> str:
    value, _ = session_of(secret, token, now=now)
    return f"{cookie_name(secret)}={value}"


def test_a_session_stands_for_its_token() -> None:
    held = cookie(ANNA, now=2e9)

    assert name_of({"cookie": f"other=1; {held}; more=2".encode()}) == "anna"
    assert name_of({"cookie": cookie(operator(OPERATOR), now=2e9).encode()}) == "operator"


@pytest.mark.parametrize(
    "held",
    [
        cookie(ANNA, now=2e9, secret=b"another service's secret"),
        cookie(ANNA, now=2e9).replace("anna", "operator"),
        cookie(ANNA, now=2e9)[:-1],
        cookie(ANNA, now=1e6),
        cookie(Token(name="anna", hash=hash_of(b"annas-earlier-token")), now=2e9),
        f"{cookie_name(SECRET)}=anna~99999999999~",
        f"{cookie_name(SECRET)}=anna~soon~x",
        f"{cookie_name(SECRET)}=",
    ],
)
def test_a_session_that_was_forged_has_ended_or_whose_token_has_gone_is_nobodys(
    held: str,
) -> None:
    assert name_of({"cookie": held.encode()}) is None


def test_a_wrong_header_is_not_made_good_by_a_cookie() -> None:
    held = {"cookie": cookie(ANNA, now=2e9).encode(), "authorization": b"Bearer wrong"}

    assert name_of(held) is None
