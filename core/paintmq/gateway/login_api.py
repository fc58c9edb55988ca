"""Signing in with a browser, once: by a token that is typed in, or by a one-time link.

A link signs in at once only if its user opened it (``Sec-Fetch-Site: none``). If another page led
here, a button must be pressed: else any site could sign its visitors in as whom it likes, and
programs that preview links would use them up.
"""

import json
from html import escape
from urllib.parse import parse_qs

from attrs import define
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from paintmq.gateway.callers import Callers
from paintmq.gateway.origins import Address
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.services import caller_of
from paintmq.gateway.tokens import Token
from paintmq.http_api import HttpApi

MAX_FORM = 8 * 1024
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)


def login_api(callers: Callers) -> HttpApi:
    """Return the API that is always there."""
    own = LoginRoutes(callers)
    return HttpApi(
        name="login",
        prefixes=("/login", "/logout", "/v1/me"),
        public=("/login", "/logout"),
        routes=[
            Route("/login", own.page, methods=["GET"]),
            Route("/login", own.login, methods=["POST"]),
            Route("/logout", own.logout, methods=["POST"]),
            Route("/v1/me", own.me, methods=["GET"]),
        ],
        content_security_policy=POLICY,
    )


@define
class LoginRoutes:
    """The handlers of these routes."""

    callers: Callers

    async def page(self, request: Request) -> Response:
        ticket = request.query_params.get("ticket", "")
        after = _after(request.query_params.get("next", ""))
        if not ticket:
            return HTMLResponse(_page(_token_form(after)))
        opened_by_user = request.headers.get("sec-fetch-site") == "none"
        token = self.callers.token_for_ticket(ticket, use=opened_by_user)
        if token is None:
            said = "<p role=alert>This link was used, or is too old. Sign in with a token.</p>"
            return HTMLResponse(_page(said + _token_form(after)), 410)
        if opened_by_user:
            return self._signed_in(request, token, after)
        return HTMLResponse(_page(_ticket_form(ticket, token.name, after)))

    async def login(self, request: Request) -> Response:
        """Set the cookie for a token or a ticket, given by a form or as JSON."""
        fields = await _fields(request)
        ticket, after = fields.get("ticket", ""), _after(fields.get("next", ""))
        if ticket:
            token = self.callers.token_for_ticket(ticket, use=True)
        else:
            token = self.callers.token_for(fields.get("token", ""))
        if token is None:
            if _is_form(request):
                said = "<p role=alert>This is no token of this service.</p>"
                return HTMLResponse(_page(said + _token_form(after)), 401)
            raise RefusedRequestError(401, "token", "this is no token of this service")
        return self._signed_in(request, token, after)

    async def logout(self, request: Request) -> Response:
        root = _root(request)
        answer = RedirectResponse(f"{root}/login", 303)
        answer.delete_cookie(self.callers.cookie, path=f"{root}/", httponly=True, samesite="strict")
        return answer

    async def me(self, request: Request) -> Response:
        """Tell a caller who it is, as the gateway sees it."""
        caller = caller_of(request)
        return JSONResponse(
            {
                "name": caller.name,
                "role": caller.role,
                "tenant": caller.tenant,
                "queues": None if caller.queues is None else list(caller.queues),
                "rate": caller.rate,
                "quota": caller.quota,
                "expires_at": caller.expires_at,
            }
        )

    def _signed_in(self, request: Request, token: Token, after: str) -> Response:
        root, address = _root(request), _address(request)
        name, value, age = self.callers.session(token)
        answer: Response
        if request.method == "GET" or _is_form(request):
            answer = RedirectResponse(f"{root}{after}", 303)
        else:
            answer = JSONResponse({"name": token.name, "role": token.role})
        answer.set_cookie(
            name,
            value,
            max_age=int(age),
            path=f"{root}/",
            secure=address is not None and address.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _address(request: Request) -> Address | None:
    address: Address | None = getattr(request.state, "address", None)
    return address


def _after(wanted: str) -> str:
    """Return the path to go to after signing in: one of ours, whatever was asked for."""
    is_ours = wanted.startswith("/") and not wanted.startswith("//")
    return wanted if is_ours and wanted.isprintable() and "\\" not in wanted else "/"


def _is_form(request: Request) -> bool:
    kind: str = request.headers.get("content-type", "")
    return kind.startswith("application/x-www-form-urlencoded")


async def _fields(request: Request) -> dict[str, str]:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise RefusedRequestError(413, "too_large", f"a sign-in has at most {MAX_FORM:,} bytes")
    try:
        text = body.decode()
        given = json.loads(text) if not _is_form(request) else _first_values(text)
    except (ValueError, RecursionError):
        raise RefusedRequestError(400, "body", "send a form or JSON with a token") from None
    if not isinstance(given, dict):
        raise RefusedRequestError(400, "body", "send a form or JSON with a token")
    return {str(name): str(value) for name, value in given.items()}


def _first_values(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, max_num_fields=8).items()}


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>PaintMQ: sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif }}
body {{ max-width: 24rem; margin: 15vh auto; padding: 0 1rem }}
input, button {{ font: inherit; padding: .5rem; width: 100%; box-sizing: border-box }}
button {{ margin-top: 1rem }}
</style></head>
<body><h1>PaintMQ</h1>{content}</body></html>
"""


def _page(content: str) -> str:
    return _PAGE.format(content=content)


def _token_form(after: str) -> str:
    return (
        '<form method="post" action="login"><label for="token">Token</label>'
        '<input id="token" name="token" type="password" autocomplete="current-password"'
        f' required autofocus><input type="hidden" name="next" value="{escape(after)}">'
        "<button>Sign in</button></form>"
    )


def _ticket_form(ticket: str, name: str, after: str) -> str:
    return (
        '<form method="post" action="login">'
        f'<input type="hidden" name="ticket" value="{escape(ticket)}">'
        f'<input type="hidden" name="next" value="{escape(after)}">'
        f"<button autofocus>Sign in as {escape(name)}</button></form>"
    )
