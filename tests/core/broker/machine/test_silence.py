"""For how long a peer has been silent."""

from typing import Any

from paintmq.broker.machine.membership import Membership
from paintmq.config import Timers
from paintmq.deadlines import Deadlines
from paintmq.task import PeerId


class Life:
    deadlines: Deadlines[Any] = Deadlines()


def test_a_peer_that_is_gone_is_not_silent() -> None:
    nothing: Any = None
    life: Any = Life()
    membership = Membership(nothing, nothing, life, nothing, Timers())

    assert membership.silence(PeerId(b"gone"), 1_000.0) == 0.0
