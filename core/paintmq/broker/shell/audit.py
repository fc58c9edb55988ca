"""Who ordered what: one line of the log for every order that changes things for others."""

import json
import logging

from paintmq.broker.machine import Credentials
from paintmq.task import PeerId
from paintmq.wire.messages import Ask

logger = logging.getLogger("paintmq.audit")

MOST_TEXT = 500
"""Characters kept of an order's arguments."""


def note_order(ask: Ask, peer: PeerId, credentials: Credentials) -> None:
    """Log an order, whoever gave it; without an admin's key, that it was refused."""
    who = f"key {credentials.key!r}" if credentials.key else "a client without a key"
    arguments = json.dumps(dict(ask.arguments), default=str)
    if len(arguments) > MOST_TEXT:
        arguments = f"{arguments[:MOST_TEXT]}…"
    verb = "ordered" if credentials.is_admin else "was refused"
    logger.info("%s (%s) %s %s %s", who, peer.hex()[-8:], verb, ask.subject, arguments)
