"""Signatures of webhooks, as Standard Webhooks has them, so that receivers find libraries.

https://www.standardwebhooks.com: HMAC-SHA256 over ``ID.TIMESTAMP.BODY``, in base64 after ``v1,``.
A receiver refuses a time stamp that is minutes away from its own clock, and an id that it has had.
"""

import base64
import hmac
from collections.abc import Mapping

PREFIX = "whsec_"


def secret_of(service_secret: bytes, owner: str) -> bytes:
    """Return the key, 32 bytes, that signs the webhooks of one owner."""
    return hmac.digest(service_secret, b"webhooks of\0" + owner.encode(), "sha256")


def shown_secret(secret: bytes) -> str:
    """Return the key as receivers are given it."""
    return PREFIX + base64.b64encode(secret).decode()


def signed_headers(secret: bytes, task_id: str, body: bytes, *, now: float) -> Mapping[str, str]:
    """Return the headers by which a receiver knows the body's sender and time.

    ``now``: Unix time.
    """
    stamp = str(int(now))
    signed = b".".join((task_id.encode(), stamp.encode(), body))
    signature = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return {
        "webhook-id": task_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{signature}",
    }
