"""APIs of the HTTP gateway: who calls, and what an API plugin hands in.

An API is a set of routes at the paths that its clients expect, such as ``/sdapi/v1``. All of them
stand behind one guard, which has checked host, origin, token, sizes and rates, and has put a
``Caller`` on ``request.state.caller`` before any route runs.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from paintmq.task import Json

Role: TypeAlias = Literal["user", "admin", "metrics"]

SAFE_POLICY = "default-src 'self'"
"""What a page of ours may load unless its API says otherwise."""


@frozen(kw_only=True)
class Caller:
    """Who sends a request, by the token it shows."""

    name: str
    """The token's name; empty for a request to a path that needs no token."""
    role: Role = "user"
    """``user``: its own tasks. ``admin``: everybody's, and control. ``metrics``: figures alone."""
    owner: str
    """The first 12 hexadecimal digits of the ids of all of the caller's tasks; see
    ``paintmq.gateway.identity``. It does not change when the gateway or the broker restarts."""
    tenant: str = ""
    """Tenant of all its tasks: tenants share the workers fairly."""
    queues: tuple[str, ...] | None = None
    """Queues its tasks may go to; None: all."""
    rate: float | None = None
    """Requests that bring work, a second; None: no limit."""
    quota: int | None = None
    """Unfinished tasks at once; None: no limit."""
    expires_at: float | None = None
    """Unix time; None: never."""
    ambient: bool = False
    """The browser added the credentials by itself (a cookie), so that a page of another site could
    make it do so: the guard has checked the request's origin all the more strictly."""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


ErrorBody: TypeAlias = Callable[[int, str, str], Json]
"""(status, code, message) -> the body of a refusal as JSON, in the shape that clients read."""


def plain_error(status: int, code: str, message: str) -> Json:
    return {"code": code, "message": message}


@frozen(kw_only=True)
class HttpApi:
    """What one API adds to the gateway.

    Attributes:
        name: As in ``[http] apis``.
        routes: Starlette routes at absolute paths. Two APIs may not serve the same path; the guard
            checks WebSocket handshakes exactly as it checks requests.
        prefixes: The paths that are the API's, those below included: refusals of the guard there
            have the shape of ``error_body``, and answers carry ``content_security_policy``.
            ``"/"`` is everything that is no other API's.
        public: Paths that need no token; one that ends in a slash means all below it. Their
            ``caller`` has the name "" and may do nothing unless the request shows a token. Host,
            origin, size and rate are checked all the same.
        challenge: What a request without a token is told. ``Bearer`` and ``Basic`` are schemes of
            the ``WWW-Authenticate`` header of a 401; at ``Basic`` browsers ask for a password.
            ``Login`` sends a browser that opens a page to ``/login``, and others away with a 401.
        error_body: Shape of errors.
        content_security_policy: Value of that header.
        lifespan: An async context manager: entered before the first request, left at shutdown.
    """

    name: str
    routes: Sequence[Any]
    prefixes: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    challenge: Literal["Bearer", "Basic", "Login"] = "Bearer"
    error_body: ErrorBody = plain_error
    content_security_policy: str = SAFE_POLICY
    lifespan: Callable[[], AbstractAsyncContextManager[object]] | None = None
    options: Mapping[str, Json] = field(factory=dict[str, Json])
    """Anything its own tests or the page want to read; the gateway does not look at it."""


def api_of(apis: Sequence[HttpApi], path: str) -> HttpApi | None:
    """Return the API that a path belongs to: the one with the longest fitting prefix."""
    fitting = [
        (len(prefix), -place)
        for place, api in enumerate(apis)
        for prefix in api.prefixes
        if path == prefix or path.startswith(prefix.rstrip("/") + "/")
    ]
    return apis[-max(fitting)[1]] if fitting else None


def is_public(api: HttpApi | None, path: str) -> bool:
    """Return whether the path needs no token."""
    if api is None:
        return False
    return any(
        path == each or (each.endswith("/") and path.startswith(each)) for each in api.public
    )
