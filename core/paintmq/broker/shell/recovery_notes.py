"""What an operator is told about the journal when a broker starts."""

import logging
import time

from paintmq.broker.records import Recovered

logger = logging.getLogger(__name__)

_DAY = 86_400.0
FAR_AHEAD = _DAY
"""Seconds between the newest record and the start; unfetched results are kept for as long."""
BEHIND = 60.0


def log_recovery(recovered: Recovered, *, now: float | None = None) -> None:
    """Log what is wrong with the journal, or with the machine's clock, which reads ``now``."""
    for note in recovered.notes:
        logger.warning("%s", note)
    if recovered.damaged:
        logger.error("%d tasks in the journal are damaged", len(recovered.damaged))
    note = clock_note(recovered.last_time, time.time_ns() / 1e9 if now is None else now)
    if note:
        logger.warning("%s", note)


def clock_note(newest: float, now: float) -> str:
    """Return what is odd about the clock compared with the newest record; empty if nothing is."""
    if newest and now - newest > FAR_AHEAD:
        return (
            f"the journal's newest record is {(now - newest) / _DAY:.0f} days old: if the clock of "
            f"this machine is wrong, stop the broker and set it right, before unfetched results "
            f"are forgotten (timers.result_kept seconds from now) and deadlines are missed"
        )
    if newest - now > BEHIND:
        return (
            f"the journal's newest record is {newest - now:.0f} s ahead of the clock of this "
            f"machine: the broker's time goes on from that record"
        )
    return ""
