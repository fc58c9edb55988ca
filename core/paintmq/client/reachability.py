"""Whether the broker answers; logged once when it stops answering and once when it is back."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from paintmq.transport.addresses import endpoints_in
from paintmq.transport.handshake import STOPPED, why_refused
from paintmq.transport.key_files import PeerKey
from paintmq.transport.reach import why_unreachable

logger = logging.getLogger(__name__)

FAILED = "this client has failed, as its log says: make another"
_LOOK = 1.0
"""Seconds spent to find out why nothing is heard."""
_TROUBLE_AFTER = 1.0
"""Seconds without an answer before it counts as trouble."""


def none_answers(endpoint: str, timeout: float | None, key: PeerKey | None = None) -> str:
    """Describe a time-out: what can be known of an address without talking to a broker there."""
    reason = _reason(endpoint, key)
    why = f": {reason}" if reason else "; what listens there does not answer as a broker does"
    return f"no broker answers at {endpoint} within {timeout} s{why}"


def _reason(endpoint: str, key: PeerKey | None) -> str:
    if not endpoint.startswith("tcp://"):
        return ""
    addresses = endpoints_in(endpoint)
    reasons = {each: _reason_of(each, key) for each in addresses}
    if len(addresses) == 1:
        return reasons[endpoint]
    return "; ".join(f"{each}: {reason or 'no answer'}" for each, reason in reasons.items())


def _reason_of(endpoint: str, key: PeerKey | None) -> str:
    return why_unreachable(endpoint, _LOOK) or why_refused(endpoint, key, _LOOK)


class Reachability:
    """Written by the session's thread, read by any other."""

    def __init__(
        self,
        endpoint: str,
        clock: Callable[[], float] = monotonic,
        key: PeerKey | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._key = key
        self._reason = ""
        self._clock = clock
        self._unanswered_since: float | None = None
        self._warned = False
        self._answered = threading.Event()

    def wait(self, timeout: float | None) -> bool:
        """Wait for the broker's first answer; return False if the time is up before."""
        return self._answered.wait(timeout)

    @property
    def trouble(self) -> str:
        """What is wrong, for people; empty while the broker answers, and before it could."""
        since = self._unanswered_since
        seconds = 0.0 if since is None else self._clock() - since
        if seconds < _TROUBLE_AFTER:
            return ""
        why = f": {self._reason}" if self._reason else ""
        return f"no broker has answered at {self._endpoint} for {seconds:.0f} s{why}"

    def connecting(self) -> None:
        """Record that a connection is being made."""
        if self._unanswered_since is None:
            self._unanswered_since = self._clock()

    def answered(self) -> None:
        """Record that the broker has welcomed this client."""
        self._answered.set()
        self._unanswered_since, self._reason = None, ""
        if self._warned:
            self._warned = False
            logger.warning("broker %s answers again", self._endpoint)

    def gave_up(self) -> None:
        """Record that the last connection was given up for lack of an answer."""
        if not self._warned:
            # A caller may be waiting without a time limit in a program that configured no logging:
            # Python prints warnings even then.
            self._warned = True
            logger.warning(
                "broker %s does not answer; tasks are kept and the connection is tried again",
                self._endpoint,
            )
            threading.Thread(target=self._find_reason, name="paintmq-reach", daemon=True).start()

    def _find_reason(self) -> None:
        """Say why; in a thread of its own, as it takes a second or two."""
        reason = _reason(self._endpoint, self._key)
        if reason and self._unanswered_since is not None:
            self._reason = reason
            if reason != STOPPED:  # else the first line has said it all
                logger.warning("broker %s does not answer: %s", self._endpoint, reason)
