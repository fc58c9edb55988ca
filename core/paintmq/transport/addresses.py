"""Addresses as text."""


def tcp_endpoint(host: str, port: int) -> str:
    """Return the address to connect to for a socket that is bound to this host."""
    anywhere = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}
    host = anywhere.get(host, host)
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
