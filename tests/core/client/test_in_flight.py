"""Which requests may be sent now: in pages, and one at a time while one of them is suspect."""

from paintmq.client.in_flight import DEATHS, PROBE_SECONDS, InFlight, Request
from paintmq.task import TaskId


def task(number: int) -> Request:
    return ("task", TaskId(f"{number:032x}"))


def cancel(number: int) -> Request:
    return ("cancel", TaskId(f"{number:032x}"))


def reopen(requests: InFlight, *unanswered: Request) -> None:
    tasks = [TaskId(str(key)) for kind, key in unanswered if kind == "task"]
    requests.restart(tasks, [each for each in unanswered if each[0] != "task"])


def die_with(requests: InFlight, *unanswered: Request) -> None:
    """Let the broker forget the connection, and open another."""
    requests.connection_died()
    reopen(requests, *unanswered)


def take(requests: InFlight, now: float = 0.0) -> list[Request]:
    tasks, others = requests.take(now=now, welcomed=True)
    return [*others, *(("task", task_id) for task_id in tasks)]


def test_what_is_added_is_sent_once() -> None:
    requests = InFlight()
    requests.add(task(1))
    requests.add(task(1))

    assert take(requests) == [task(1)]
    requests.add(task(1))
    assert take(requests) == []


def test_a_cancel_is_sent_once_until_it_is_to_be_repeated() -> None:
    requests = InFlight()
    requests.add(cancel(1))
    assert take(requests) == [cancel(1)]
    requests.add(cancel(1))
    assert take(requests) == []
    requests.repeat(cancel(1))
    assert take(requests) == [cancel(1)]


def test_what_is_to_be_repeated_is_sent_again() -> None:
    requests = InFlight()
    requests.add(task(1))
    take(requests)
    requests.repeat(task(1))

    assert take(requests) == [task(1)]


def test_tasks_are_sent_in_pages_the_next_as_the_last_is_answered() -> None:
    requests = InFlight(limit=2)
    for number in range(5):
        requests.add(task(number))

    assert take(requests) == [task(0), task(1)]
    requests.remove(task(1))
    assert take(requests) == [task(2)]
    requests.remove(task(4))  # cancelled before it was sent, say
    requests.remove(task(0))
    requests.remove(task(2))
    assert take(requests) == [task(3)]


def test_cancels_and_questions_do_not_wait_for_a_page() -> None:
    requests = InFlight(limit=1)
    for each in (task(1), task(2), cancel(1), ("ask", 7)):
        requests.add(each)

    assert take(requests) == [cancel(1), ("ask", 7), task(1)]
    requests.remove(cancel(1))
    assert take(requests) == []


def test_after_a_connection_died_what_was_unanswered_is_sent_one_at_a_time() -> None:
    requests = InFlight()
    for number in range(3):
        requests.add(task(number))
    take(requests)
    die_with(requests, task(0), task(1), task(2))

    assert requests.take(now=0.0, welcomed=False) == ([], [])
    assert take(requests) == [task(0)]
    assert take(requests) == []
    requests.remove(task(0))
    assert take(requests) == [task(1)]
    requests.add(cancel(5))
    requests.remove(task(1))
    assert take(requests) == [cancel(5)]


def test_a_probe_that_is_not_answered_holds_up_the_next_for_seconds_only() -> None:
    requests = InFlight()
    for number in range(2):
        requests.add(task(number))
    take(requests)
    die_with(requests, task(0), task(1))
    take(requests, now=10.0)

    assert requests.next_due() == 10.0 + PROBE_SECONDS
    assert take(requests, now=10.0 + PROBE_SECONDS) == [task(1)]
    assert requests.next_due() == float("inf"), "nothing waits any more"


def test_a_request_that_was_alone_when_its_connections_died_is_guilty() -> None:
    requests = InFlight()
    for number in range(3):
        requests.add(task(number))
    take(requests)
    die_with(requests, task(0), task(1), task(2))
    assert requests.guilty() == []
    take(requests)
    requests.remove(task(0))  # answered: innocent
    for _ in range(DEATHS):
        assert requests.guilty() == []
        take(requests)
        die_with(requests, task(1), task(2))

    assert requests.guilty() == [task(1)]
    requests.remove(task(1))
    assert requests.guilty() == []
    assert take(requests) == [task(2)]


def test_a_broker_that_was_restarted_suspects_nothing() -> None:
    requests = InFlight()
    for number in range(2):
        requests.add(task(number))
    take(requests)
    die_with(requests, task(0), task(1))
    requests.acquit()

    assert take(requests) == [task(0), task(1)]


def test_with_suspects_and_nothing_to_send_nothing_is_sent() -> None:
    requests = InFlight()
    requests.add(task(0))
    take(requests)
    die_with(requests)

    assert take(requests) == []
