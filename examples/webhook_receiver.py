"""Receive the webhooks of a PaintMQ gateway, and believe only what it has signed just now.

    python examples/webhook_receiver.py --port 8000 --secret whsec_...

The secret is your own: GET /v1/webhooks/secret tells it. Nothing but Python is needed; the format
is that of Standard Webhooks, so that its libraries (``pip install standardwebhooks``) work as well.
"""

import argparse
import base64
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

TOLERANCE = 300
"""Seconds by which a time stamp may differ from this clock: older ones may be replayed."""
REMEMBERED = 10_000
MAX_BODY = 64 * 1024


class UntrustedError(Exception):
    """It was not the gateway that sent this, or it was not meant to come now."""


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> str:
    """Return the id of a webhook, once its signature and its time are known to be right.

    Raises:
        UntrustedError: they are not.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        identity, stamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures, sent_at = headers["webhook-signature"].split(), int(stamp)
    except (KeyError, ValueError):
        raise UntrustedError("a header is missing or wrong") from None
    if abs(now - sent_at) > TOLERANCE:
        raise UntrustedError("its time stamp is too far from now")
    signed = f"{identity}.{stamp}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    # Compared in constant time: the duration of a comparison must not tell how much was right.
    if not any(hmac.compare_digest(wanted.encode(), each.encode()) for each in signatures):
        raise UntrustedError("its signature is wrong")
    return identity


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what it believes; anything else is tried again by the gateway."""

    secret = ""
    had: ClassVar[OrderedDict[str, None]] = OrderedDict()
    """Ids of what was received: after a crash, a webhook may come twice. A program that must not
    act twice keeps them where they survive its own restart."""

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", "0"))
        if size > MAX_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(size)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            identity = verify(self.secret, headers, body, now=time.time_ns() / 1e9)
        except UntrustedError as error:
            print(f"refused: {error}", flush=True)
            self.send_error(401)
            return
        if identity not in self.had:
            self.had[identity] = None
            if len(self.had) > REMEMBERED:
                self.had.popitem(last=False)
            task = json.loads(body)["data"]
            print(f"task {task['id']}: {task['state']} {task['result'] or ''}", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """What is worth saying is printed above."""


def main() -> None:
    """Serve until the program is stopped."""
    parser = argparse.ArgumentParser(description="Receive the webhooks of a PaintMQ gateway.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--secret", required=True, help="of GET /v1/webhooks/secret")
    asked = parser.parse_args()
    Receiver.secret = asked.secret
    with HTTPServer((asked.host, asked.port), Receiver) as server:
        print(f"waiting for webhooks at http://{asked.host}:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
