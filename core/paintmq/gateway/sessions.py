"""What a browser holds instead of a token: a signed cookie, got by a token or a one-time link.

Rule 1: nothing is kept here: the signature covers the token's hash, so a session ends with its
token, and any gateway with the same file of tokens knows it.
Rule 2: no script can read the cookie (HttpOnly), and no other site can make a browser send it
(SameSite=Strict); the guard checks the origin besides.
Rule 3: a link is good once, for minutes: using it removes its file, which only one can do.
"""

import base64
import hashlib
import hmac
import secrets
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from paintmq.errors import ConfigError
from paintmq.gateway.token_file import read_secret_file
from paintmq.gateway.tokens import Token

SESSION_SECONDS = 30 * 86_400.0
LINK_SECONDS = 600.0


def cookie_name(secret: bytes) -> str:
    """Return the name of the cookie: of its own for each service, as ports share cookies."""
    return "paintmq_" + hashlib.sha256(b"cookie name\0" + secret).hexdigest()[:8]


def session_of(secret: bytes, token: Token, *, now: float) -> tuple[str, float]:
    """Return the value of a cookie for the token's user, and the Unix time at which it ends."""
    ends = float(int(min(now + SESSION_SECONDS, token.expires_at or now + SESSION_SECONDS)))
    return f"{token.name}~{int(ends)}~{_signature(secret, token, int(ends))}", ends


def name_in(value: str) -> str:
    """Return whose session it claims to be."""
    return value.partition("~")[0]


def is_session(secret: bytes, token: Token, value: str, *, now: float) -> bool:
    """Return whether the value is a session of this token that has not ended."""
    _, _, rest = value.partition("~")
    ends, _, signature = rest.partition("~")
    if not (ends.isascii() and ends.isdecimal() and len(ends) < 16) or int(ends) <= now:
        return False
    return hmac.compare_digest(signature.encode(), _signature(secret, token, int(ends)).encode())


def _signature(secret: bytes, token: Token, ends: int) -> str:
    text = f"session\0{token.name}\0{token.hash}\0{ends}"
    digest = hmac.digest(secret, text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@frozen
class LoginLinks:
    """One-time tickets, a file each."""

    folder: Path

    def make(self, name: str, *, now: float) -> str:
        """Return a ticket by which a browser signs in as the token of this name.

        Raises:
            ConfigError: the folder cannot be written to.
        """
        ticket = secrets.token_urlsafe(24)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep(now)
            file = self._file(ticket)
            file.touch(mode=0o600)
            file.write_text(f"{name}\n{now + LINK_SECONDS}\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{self.folder}: cannot be written to: {error.strerror}") from error
        return ticket

    def name_for(self, ticket: str, *, now: float) -> str | None:
        """Return the name a ticket is good for, and leave it good; None if it is not."""
        try:
            name, ends = read_secret_file(self._file(ticket)).split()
            return name if float(ends) > now else None
        except (ConfigError, ValueError):
            return None

    def use(self, ticket: str, *, now: float) -> str | None:
        """Return the name a ticket was good for; it is so no longer."""
        name = self.name_for(ticket, now=now)
        if name is None:
            return None
        try:
            self._file(ticket).unlink()
        except OSError:
            return None  # somebody else was first, or the folder is read-only: not a second time
        return name

    def _sweep(self, now: float) -> None:
        """Remove the tickets that nobody has used in time."""
        for file in self.folder.iterdir():
            with suppress(OSError):
                if file.stat().st_mtime + LINK_SECONDS < now:
                    file.unlink()

    def _file(self, ticket: str) -> Path:
        return self.folder / hashlib.sha256(ticket.encode("utf-8", "replace")).hexdigest()
