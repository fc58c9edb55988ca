"""Who sends a request: the credentials it shows, and the caller they stand for."""

import base64
import hmac
from collections.abc import Mapping
from contextlib import suppress

from attrs import field, frozen

from paintmq.gateway.identity import owner_mark
from paintmq.http_api import Caller

NO_CALLER = Caller(name="", role="metrics", owner=owner_mark(""))
"""Who asks for a path that needs no token, and shows none."""


@frozen
class Callers:
    """The tokens that are known."""

    operator_token: str = field(repr=False)
    """The token of ``http.token_file``: an admin's."""

    def of(self, headers: Mapping[str, bytes]) -> Caller | None:
        """Return who shows these credentials; None if they are missing or wrong."""
        token = _token_in(headers.get("authorization", b""))
        if token and hmac.compare_digest(token, self.operator_token.encode()):
            return Caller(name="operator", role="admin", owner=owner_mark("operator"))
        return None


def _token_in(authorization: bytes) -> bytes:
    """Return the token of a Bearer header, or the password of a Basic one, whatever the user."""
    scheme, _, given = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() == b"basic":
        with suppress(ValueError):
            return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    return b""
