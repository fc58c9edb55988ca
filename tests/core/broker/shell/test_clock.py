from paintmq.broker.shell.clock import LONGEST_TICK, BrokerClock


class Hands:
    def __init__(self) -> None:
        self.wall, self.monotonic = 5_000_000_000_000_000_000, 100.0


def make_clock(hands: Hands, *, not_before: float = 0.0) -> BrokerClock:
    return BrokerClock(
        not_before=not_before, wall=lambda: hands.wall, monotonic=lambda: hands.monotonic
    )


def test_broker_time_starts_at_the_epoch_and_advances_monotonically() -> None:
    hands = Hands()
    clock = make_clock(hands)
    start = clock.now()
    hands.monotonic += 1.5

    assert start == 5e9
    assert clock.now() == start + 1.5


def test_a_wall_clock_that_jumps_changes_nothing() -> None:
    hands = Hands()
    clock = make_clock(hands)
    before = clock.now()
    hands.wall -= 10**18

    assert clock.now() == before


def test_a_pause_of_the_process_takes_no_broker_time() -> None:
    hands = Hands()
    clock = make_clock(hands)
    before = clock.now()
    hands.monotonic += 60.0
    after = clock.now()
    hands.monotonic += LONGEST_TICK

    assert after == before
    assert clock.skipped == 60.0
    assert clock.now() == before + LONGEST_TICK


def test_time_never_runs_behind_what_the_journal_has_seen() -> None:
    assert make_clock(Hands(), not_before=6e9).now() == 6e9
