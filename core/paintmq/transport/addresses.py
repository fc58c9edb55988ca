"""Addresses as text: where to connect, and who can reach a socket."""

import ipaddress


def tcp_endpoint(host: str, port: int) -> str:
    """Return the address to connect to for a socket that is bound to this host."""
    anywhere = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}
    host = anywhere.get(host, host)
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def endpoints_in(text: str) -> tuple[str, ...]:
    """Return the addresses in a list that commas separate: of brokers that stand by for each other.

    Nothing is dropped, so that an empty one can be refused.
    """
    return tuple(each.strip() for each in text.split(","))


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a socket bound to that host.

    A name other than ``localhost`` counts as reachable by others, whatever it resolves to now:
    ``127.0.0.1.example.com`` belongs to whoever owns that domain.
    """
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
