"""The interpreter lock in a broker's process."""

import sys

from paintmq.process.switch_interval import shared_often


def test_it_is_shared_often_for_as_long_as_the_broker_runs_and_as_before_afterwards() -> None:
    before = sys.getswitchinterval()

    with shared_often():
        assert sys.getswitchinterval() < before

    assert sys.getswitchinterval() == before
