"""Where a request was sent to, and from whose page: host, origin, proxies and a path before ours.

Rule 1: a Host that is not ours is refused, or an attacker's name that leads to our address would
make its pages ours (DNS rebinding).
Rule 2: a page of another site is refused unless ``http.origins`` names it; and where the browser
adds the credentials by itself, even then.
Rule 3: what a proxy says of a request counts only if it is one of ``http.trusted_proxies``.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, TypeAlias

from attrs import field, frozen

from paintmq.errors import ConfigError
from paintmq.gateway.refusal import RefusedRequestError

Headers: TypeAlias = Mapping[str, bytes]

PREFLIGHT_METHODS = "GET, HEAD, POST, DELETE"
EXPOSED = "location, retry-after, etag, content-range, content-disposition, x-seed, x-request-id"
_PREFLIGHT_SECONDS = 600


@frozen(kw_only=True)
class Address:
    """Where a request was sent to, as its sender sees it."""

    scheme: str
    host: str
    prefix: str
    """The path before ours: of ``http.root_path``, or of a trusted proxy."""
    origin: str
    """Of the page it comes from; empty: no page of another site."""


@frozen(kw_only=True)
class Origins:
    """Which hosts and origins are served."""

    hosts: frozenset[str]
    """Values of the Host header that are meant for us, in lower case: ``localhost:5580``."""
    origins: frozenset[str] = frozenset()
    """Pages of other sites that may use the gateway: ``https://studio.example``."""
    root_path: str = ""
    any_scheme: bool = False
    """Something before us speaks TLS, so our own page may call itself https where we see http."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded headers count."""
    _networks: tuple[Any, ...] = field(init=False)

    @_networks.default
    def _parse(self) -> tuple[Any, ...]:
        try:
            return tuple(ip_network(each, strict=False) for each in self.proxies)
        except ValueError as error:
            raise ConfigError(
                f"http.trusted_proxies: {error}: name addresses or networks, as 10.0.0.0/8"
            ) from error

    def address(self, scope: Mapping[str, Any], headers: Headers) -> Address:
        """Return where the request was sent to.

        Raises:
            RefusedRequestError: that is not us, or it comes from a page of a foreign site.
        """
        told = headers if self._is_proxy(scope) else {}
        scheme = _last(told.get("x-forwarded-proto", b"")) or str(scope.get("scheme", "http"))
        scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
        host = _last(told.get("x-forwarded-host", b"")) or headers.get("host", b"").decode(
            "latin-1"
        )
        host = host.lower()
        if host not in self.hosts:
            raise RefusedRequestError(403, "host", "this name is not one of http.hosts")
        prefix = _last(told.get("x-forwarded-prefix", b"")).rstrip("/")
        if not prefix.startswith("/") or prefix.startswith("//"):
            prefix = self.root_path.rstrip("/")
        origin = headers.get("origin", b"").decode("latin-1")
        if not origin or self._is_own(origin, scheme, host):
            return Address(scheme=scheme, host=host, prefix=prefix, origin="")
        if origin not in self.origins:
            raise RefusedRequestError(403, "origin", "pages of other sites are not served")
        return Address(scheme=scheme, host=host, prefix=prefix, origin=origin)

    def _is_own(self, origin: str, scheme: str, host: str) -> bool:
        schemes = ("http", "https") if self.any_scheme else (scheme,)
        return origin.lower() in {f"{each}://{host}" for each in schemes}

    def _is_proxy(self, scope: Mapping[str, Any]) -> bool:
        client = scope.get("client")
        if not client or not self._networks:
            return False
        try:
            peer = ip_address(client[0])
        except ValueError:
            return False
        return any(peer in network for network in self._networks)


def check_ambient(address: Address, headers: Headers, method: str) -> None:
    """Check that a browser's own page made it send credentials that it adds by itself.

    Raises:
        RefusedRequestError: another site's did, or may have.
    """
    site = headers.get("sec-fetch-site", b"none").lower()
    navigates = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == b"navigate"
    if address.origin or not (site in (b"same-origin", b"none") or navigates):
        raise RefusedRequestError(
            403, "origin", "another site's page may not use what this browser is signed in with"
        )


def cors_headers(origin: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of this origin read an answer; never with cookies."""
    if not origin:
        return []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", EXPOSED.encode()),
        (b"vary", b"origin"),
    ]


def preflight_headers(origin: str, headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the answer to the question whether a page of this origin may send a request."""
    wanted = headers.get("access-control-request-headers", b"authorization, content-type")
    return [
        *cors_headers(origin),
        (b"access-control-allow-methods", PREFLIGHT_METHODS.encode()),
        (b"access-control-allow-headers", wanted[:1024]),
        (b"access-control-max-age", str(_PREFLIGHT_SECONDS).encode()),
    ]


def checked_origins(origins: Iterable[str]) -> frozenset[str]:
    """Return the origins of ``http.origins``.

    Raises:
        ConfigError: one is no origin as browsers write them.
    """
    for each in origins:
        scheme, separator, rest = each.partition("://")
        if scheme not in ("http", "https") or not separator or not rest or set(rest) & set("/*@ "):
            raise ConfigError(
                f"http.origins: {each!r} is no origin: write scheme, name and, if it is not the"
                " usual one, port, as https://studio.example:8443"
            )
    return frozenset(each.lower() for each in origins)


def _last(header: bytes) -> str:
    """Return the last entry: what the nearest proxy, the one we trust, has seen."""
    return header.decode("latin-1").rpartition(",")[2].strip()
