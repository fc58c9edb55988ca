"""Tokens: who may call, as what, and until when. Only their hashes are kept.

A token is 256 random bits, so a plain hash of it tells nothing, and a look-up by that hash takes no
time that would depend on how much of a guess is right.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, get_args

from attrs import frozen

from paintmq.errors import ConfigError
from paintmq.gateway.identity import owner_mark
from paintmq.http_api import Caller, Role

OPERATOR = "operator"
"""Name of whoever shows the token of ``http.token_file``."""
ROLES: tuple[Role, ...] = get_args(Role)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAX_TEXT = 200
_HASH = re.compile("[0-9a-f]{64}")


@frozen(kw_only=True)
class Token:
    """One token; what is left out does not limit it."""

    name: str
    hash: str
    """SHA-256 of the token, 64 hexadecimal digits."""
    role: Role = "user"
    tenant: str = ""
    """Empty: its own name."""
    queues: tuple[str, ...] | None = None
    rate: float | None = None
    """Requests that bring work, a second."""
    quota: int | None = None
    """Unfinished tasks at once."""
    expires_at: float | None = None
    """Unix time."""

    def has_expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def caller(self, *, ambient: bool = False) -> Caller:
        """Return whom the token stands for."""
        return Caller(
            name=self.name,
            role=self.role,
            owner=owner_mark(self.name),
            tenant=self.tenant or self.name,
            queues=self.queues,
            rate=self.rate,
            quota=self.quota,
            expires_at=self.expires_at,
            ambient=ambient,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the token's entry in a file; what does not limit it is left out."""
        every = {
            "name": self.name,
            "hash": self.hash,
            "role": self.role,
            "tenant": self.tenant or None,
            "queues": None if self.queues is None else list(self.queues),
            "rate": self.rate,
            "quota": self.quota,
            "expires_at": self.expires_at,
        }
        return {name: value for name, value in every.items() if value is not None}


def new_secret() -> str:
    """Return a new token."""
    return f"pmq_{secrets.token_urlsafe(32)}"


def hash_of(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def operator(secret: str) -> Token:
    """Return the token of ``http.token_file``: an admin's, with no limits."""
    return Token(name=OPERATOR, hash=hash_of(secret.encode()), role="admin")


def checked(token: Token) -> Token:
    """Return the token if its parts make sense.

    Raises:
        ConfigError: what is wrong, by the names of the options of ``paintmq http tokens add``.
    """
    if not NAME.fullmatch(token.name):
        raise ConfigError(f"{token.name!r} is no name: 1 to 64 letters, digits, '.', '_', '-'")
    if token.name == OPERATOR:
        raise ConfigError(f"{OPERATOR!r} is the name of the token in http.token_file")
    if token.role not in ROLES:
        raise ConfigError(f"role {token.role!r}: use one of {', '.join(ROLES)}")
    if len(token.tenant) > MAX_TEXT:
        raise ConfigError(f"tenant: {len(token.tenant)} characters, {MAX_TEXT} at most")
    if token.queues is not None and not all(token.queues):
        raise ConfigError("queues: name them as gpu-low,cpu-light")
    if token.rate is not None and not 0 < token.rate <= 1e6:
        raise ConfigError(f"rate {token.rate!r} is no number of requests a second above 0")
    if token.quota is not None and not 0 < token.quota <= 10**9:
        raise ConfigError(f"quota {token.quota!r} is no number of tasks above 0")
    return token


def token_from_json(entry: object) -> Token:
    """Read what ``to_json`` wrote.

    Raises:
        ConfigError: it is no such entry.
    """
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    name, digest = fields.get("name"), fields.get("hash")
    if not (isinstance(name, str) and isinstance(digest, str) and _HASH.fullmatch(digest)):
        raise ConfigError("an entry has no name and hash")
    queues, limits = fields.get("queues"), {}
    if queues is not None and not (
        isinstance(queues, list) and all(isinstance(each, str) for each in queues)
    ):
        raise ConfigError(f"{name}: queues = {queues!r} is no list of names")
    for key in ("rate", "quota", "expires_at"):
        value = limits[key] = fields.get(key)
        number = int if key == "quota" else int | float
        if value is not None and (isinstance(value, bool) or not isinstance(value, number)):
            raise ConfigError(f"{name}: {key} = {value!r} is no number")
    return checked(
        Token(
            name=name,
            hash=digest,
            role=fields.get("role", "user"),
            tenant=str(fields.get("tenant", "")),
            queues=None if queues is None else tuple(queues),
            **limits,
        )
    )
