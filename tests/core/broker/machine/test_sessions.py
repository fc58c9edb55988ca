"""Who is connected, and who cannot be served."""

import pytest
from tests.harness.broker_harness import W1, W2

from paintmq.broker.machine.sessions import Sessions, WorkerSession, version_objection
from paintmq.testing.example_tasks import make_hello


@pytest.mark.parametrize(
    ("oldest", "newest", "words"),
    [
        (3, 5, ""),
        (5, 9, ""),
        (1, 3, ""),
        (1, 2, "speaks protocol 1 to 2, this broker 3 to 5: update it"),
        (6, 9, "speaks protocol 6 to 9, this broker 3 to 5: update the broker"),
    ],
)
def test_a_peer_without_a_version_in_common_is_told_who_is_to_be_updated(
    oldest: int, newest: int, words: str
) -> None:
    """I18."""
    assert version_objection(oldest, newest, ours=5, our_oldest=3) == words


def test_workers_are_counted_by_their_home() -> None:
    sessions = Sessions()
    for peer in (W1, W2):
        sessions.workers[peer] = WorkerSession(peer, make_hello(queue="cpu-light"))

    assert sessions.workers_by_queue() == {"cpu-light": 2}
