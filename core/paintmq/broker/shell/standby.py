"""Standing by: waiting for the lead on a store that several brokers share.

Nothing is opened meanwhile and no port is bound: clients and nodes, which have a list of addresses,
find what listens.
"""

import logging
import os
import socket
import time
from collections.abc import Callable

from paintmq.broker.stores import Store
from paintmq.config import BrokerConfig
from paintmq.errors import StoreError, StoreUnreachableError
from paintmq.transport.addresses import tcp_endpoint

logger = logging.getLogger(__name__)

LOOK = 0.25
"""Seconds between two attempts to take the lead."""
SINGLE_PATIENCE = 8.0
"""Seconds in which a broker that does not stand by tries: an earlier one may just have died."""


class StandbyEndedError(StoreError):
    """The broker was told to stop before it ever led."""


def take_lead(store: Store, config: BrokerConfig, wait: Callable[[float], bool] | None) -> None:
    """Return once this broker leads.

    Args:
        store: not opened yet.
        config: where clients will reach it.
        wait: waits that many seconds and returns whether to go on; None: do not stand by.

    Raises:
        StandbyEndedError: ``wait`` said so.
        StoreError: the store cannot be used, or another broker leads and this one does not stand
            by.
    """
    name = f"{socket.gethostname()} (process {os.getpid()})"
    address = tcp_endpoint(config.advertise or config.host, config.port)
    gives_up_at = time.monotonic() + SINGLE_PATIENCE
    said = ""
    while True:
        try:
            leader = store.claim(name, address)
        except StoreUnreachableError as error:
            if wait is None:
                raise
            state = line = str(error)
        else:
            if leader is None:
                return
            if wait is None and time.monotonic() > gives_up_at:
                raise StoreError(
                    f"the journal is in use: {leader}. Start this broker with --standby, and it "
                    f"takes over when that one ends"
                )
            state = f"{leader.name} {leader.epoch}"
            line = str(leader)
        if state != said:
            said = state
            logger.info("standing by: %s", line)
        if wait is None:
            time.sleep(LOOK)
        elif not wait(LOOK):
            raise StandbyEndedError("told to stop while it stood by")
