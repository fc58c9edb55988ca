"""The garbage collector in a broker's process."""

import gc
import weakref

from paintmq.process.garbage_collector import calm_collector


class Knot:
    def __init__(self) -> None:
        self.itself = self


def test_it_is_calm_for_as_long_as_the_broker_runs_and_as_before_afterwards() -> None:
    before = gc.get_threshold()

    with calm_collector():
        assert gc.get_threshold()[2] > before[2]
        assert gc.get_freeze_count() > 0

    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_what_refers_to_itself_is_still_found() -> None:
    with calm_collector():
        knot = weakref.ref(Knot())
        gc.collect(1)

    assert knot() is None
