"""Whether anything listens at an address, and if not, why: in words for an operator."""

import socket
from urllib.parse import urlsplit


def why_unreachable(endpoint: str, patience: float) -> str:
    """Return why nothing can be reached at ``tcp://HOST:PORT``; empty when something listens.

    Only talking to it tells whether it is a broker. Waits ``patience`` seconds at most for an
    answer, longer where looking the name up takes longer.
    """
    parts = urlsplit(endpoint)
    host, port = parts.hostname or "", parts.port or 0
    try:
        with socket.create_connection((host, port), timeout=patience):
            return ""
    except socket.gaierror:
        return f"no machine is known by the name {host}"
    except TimeoutError:
        return f"nothing answers there within {patience:g} s: is a firewall between?"
    except OSError as error:
        return error.strerror or str(error)
