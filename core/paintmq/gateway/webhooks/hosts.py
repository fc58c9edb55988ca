"""Which addresses webhooks may be sent to. Pure: names are resolved elsewhere.

Rule: an entry of ``http.webhook_hosts`` is a host, ``*.`` and a domain, an IP address or a network,
each with a scheme (``https://`` without one) and a port (the scheme's own without one). A name that
resolves to an address that is not public is refused, unless an entry names that address or its
network.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 2_000
PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@frozen
class Target:
    """Where one webhook goes."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without brackets."""
    port: int
    path: str
    """With the query; begins with a slash."""

    @property
    def authority(self) -> str:
        """Return what the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"


@frozen
class _Entry:
    scheme: str
    host: str
    """A name, or ``*.`` and a domain; empty: an address or a network."""
    network: Network | None
    port: int

    def takes(self, target: Target) -> bool:
        if (target.scheme, target.port) != (self.scheme, self.port):
            return False
        if self.network is not None:
            address = _address(target.host)
            return address is not None and address in self.network
        if self.host.startswith("*."):
            return target.host.endswith(self.host[1:])
        return target.host == self.host


@frozen
class WebhookHosts:
    """The hosts that an operator allows."""

    _entries: tuple[_Entry, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> "WebhookHosts":
        """Return the hosts that these texts allow.

        Raises:
            ValueError: one of them names none; the text says which, and how to write it.
        """
        return cls(tuple(_entry(text) for text in texts))

    def target(self, url: str) -> Target:
        """Return where a URL points, if it may be called.

        Raises:
            ValueError: it may not; the text says why.
        """
        target = target_of(url)
        if not self._entries:
            raise ValueError("this service sends no webhooks: http.webhook_hosts names no host")
        if not any(entry.takes(target) for entry in self._entries):
            raise ValueError(f"{target.origin} is not among the hosts of http.webhook_hosts")
        return target

    def check_address(self, host: str, text: str) -> None:
        """Check an address that a host was resolved to.

        Raises:
            ValueError: it is not public, and no entry names it.
        """
        address = ipaddress.ip_address(text.partition("%")[0])
        if is_public(address):
            return
        if any(each.network is not None and address in each.network for each in self._entries):
            return
        raise ValueError(
            f"{host} is at {address}, which is no public address; the operator can allow it by"
            " naming that address in http.webhook_hosts too"
        )


def target_of(url: str) -> Target:
    """Return where a URL points.

    Raises:
        ValueError: it is no URL that a webhook can have.
    """
    if len(url) > MAX_URL or not url.isascii() or any(ord(each) <= 32 for each in url):
        raise ValueError(
            f"a webhook's URL has at most {MAX_URL:,} characters, of ASCII, and no spaces"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the webhook's URL cannot be read") from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in PORTS:
        raise ValueError("a webhook's URL begins with https:// (or http://)")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("a webhook's URL has no user name, password or fragment")
    if not (_NAME.fullmatch(host) or _address(host) is not None) or port == 0:
        raise ValueError("the webhook's URL names no host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], path)


def is_public(address: Address) -> bool:
    """Return whether an address is on the public Internet, whatever it is wrapped in."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo is not None:
            return False
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _entry(text: str) -> _Entry:
    scheme, separator, rest = text.strip().lower().rpartition("://")
    scheme = scheme if separator else "https"
    host, port = _split_port(rest)
    network = _network(host)
    named = host.removeprefix("*.")
    if scheme not in PORTS or port == 0 or (network is None and not _NAME.fullmatch(named)):
        raise ValueError(
            f"http.webhook_hosts: {text!r} is no host: write hooks.example.com, *.example.com,"
            " hooks.example.com:8443, 10.1.2.3, 10.0.0.0/8 or http://10.1.2.3:8080"
        )
    return _Entry(scheme, "" if network else host, network, port or PORTS[scheme])


def _split_port(text: str) -> tuple[str, int | None]:
    """Return host and port; port 0 is wrong, None the scheme's own."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            return text, 0
        separator, port = rest[:1], rest[1:]
    elif text.count(":") == 1:
        host, separator, port = text.partition(":")
    else:
        return text, None
    if not separator:
        return host, None
    valid = separator == ":" and port.isascii() and port.isdecimal() and int(port[:6]) <= 65535
    return host, int(port) if valid else 0


def _network(host: str) -> Network | None:
    try:
        return ipaddress.ip_network(host)
    except ValueError:
        return None
