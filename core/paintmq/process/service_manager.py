"""What a service tells the program that started it: systemd's protocol, a datagram of text.

Outside of systemd (``NOTIFY_SOCKET`` is not set) nothing is said.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


def tell(text: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell it this; return whether somebody was told."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return False
    if address[0] == "@":  # a name in Linux's own space of names
        address = f"\0{address[1:]}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.sendall(text.encode())
        return True
    return False
