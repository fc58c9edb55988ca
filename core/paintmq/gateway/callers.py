"""Who sends a request: the credentials it shows, and the caller they stand for.

A token may come as Bearer, or as the password of Basic, whatever the user is called: clients of
AUTOMATIC1111 know nothing else. A browser shows the cookie of its session.
"""

import base64
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from attrs import field, frozen

from paintmq.gateway.identity import owner_mark
from paintmq.gateway.sessions import (
    LoginLinks,
    cookie_name,
    is_session,
    name_in,
    session_of,
)
from paintmq.gateway.token_file import TokenFile
from paintmq.gateway.tokens import OPERATOR, Token, hash_of, operator
from paintmq.http_api import Caller

NO_CALLER = Caller(name="", role="metrics", owner=owner_mark(""))
"""Who asks for a path that needs no token, and shows none."""


def unix_time() -> float:
    return time.time_ns() / 1e9


@frozen
class Callers:
    """The tokens that are known, and the sessions of browsers."""

    file: TokenFile
    operator_token: str | None = field(default=None, repr=False)
    """The token of ``http.token_file``: an admin's."""
    links: LoginLinks | None = None
    clock: Callable[[], float] = unix_time

    def of(self, headers: Mapping[str, bytes]) -> Caller | None:
        """Return who shows these credentials; None if they are missing or wrong.

        A header counts, and a cookie only without one: what a program says outweighs what its
        browser adds.
        """
        if "authorization" in headers:
            given = _token_in(headers["authorization"])
            token = self._by_secret(given) if given else None
            # Browsers repeat Basic by themselves, too.
            ambient = _is_basic(headers["authorization"])
        else:
            token, ambient = self._by_cookie(headers.get("cookie", b"")), True
        return None if token is None else token.caller(ambient=ambient)

    def token_for(self, secret: str) -> Token | None:
        """Return the token that was typed in at a sign-in page."""
        return self._by_secret(secret.strip().encode())

    def token_for_ticket(self, ticket: str, *, use: bool) -> Token | None:
        """Return the token that a one-time link is good for; ``use``: for the last time."""
        if self.links is None:
            return None
        now = self.clock()
        name = (self.links.use if use else self.links.name_for)(ticket, now=now)
        return None if name is None else self._by_name(name)

    def knows(self, name: str) -> bool:
        """Return whether there is a token of this name that is good."""
        return self._by_name(name) is not None

    def session(self, token: Token) -> tuple[str, str, float]:
        """Return name and value of the cookie that stands for a token, and its age in seconds."""
        secret, now = self.file.table().secret, self.clock()
        value, ends = session_of(secret, token, now=now)
        return cookie_name(secret), value, ends - now

    @property
    def cookie(self) -> str:
        return cookie_name(self.file.table().secret)

    # --------------------------------------------------------------------------------------------

    def _by_secret(self, secret: bytes) -> Token | None:
        digest = hash_of(secret)
        if (chief := self._operator()) is not None and chief.hash == digest:
            return chief
        return self._valid(self.file.table().by_hash.get(digest))

    def _by_name(self, name: str) -> Token | None:
        if name == OPERATOR:
            return self._operator()
        return self._valid(self.file.table().tokens.get(name))

    def _by_cookie(self, header: bytes) -> Token | None:
        if not header:
            return None
        table = self.file.table()
        wanted = cookie_name(table.secret)
        for pair in header.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            token = self._by_name(name_in(value)) if name == wanted else None
            if token is not None and is_session(table.secret, token, value, now=self.clock()):
                return token
        return None

    def _operator(self) -> Token | None:
        return None if self.operator_token is None else operator(self.operator_token)

    def _valid(self, token: Token | None) -> Token | None:
        return None if token is None or token.has_expired(self.clock()) else token


def _is_basic(authorization: bytes) -> bool:
    return authorization[:6].lower() == b"basic "


def _token_in(authorization: bytes) -> bytes:
    """Return the token of a Bearer header, or the password of a Basic one."""
    scheme, _, given = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() == b"basic":
        with suppress(ValueError):
            return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    return b""
