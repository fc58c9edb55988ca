"""A client with several addresses uses the one where a broker leads."""

import pytest

from paintmq.client import Client
from paintmq.client.addresses import ANSWER, LOOK, Addresses
from paintmq.errors import ConfigError

A, B, C = "tcp://a:1", "tcp://b:1", "tcp://c:1"


class Network:
    """Which addresses take connections, and the time."""

    def __init__(self, *listening: str) -> None:
        self.listening = set(listening)
        self.looks: list[str] = []
        self.now = 100.0

    def why_unreachable(self, endpoint: str, patience: float) -> str:
        self.looks.append(endpoint)
        return "" if endpoint in self.listening else "Connection refused"

    def addresses(self, *all_of_them: str) -> Addresses:
        return Addresses(all_of_them, self.why_unreachable, lambda: self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


def test_a_single_address_is_used_unasked() -> None:
    network = Network()
    addresses = network.addresses(A)

    assert [addresses.choose(), addresses.choose()] == [A, A]
    assert not addresses.should_change(welcomed=False)
    assert addresses.next_look(welcomed=False) is None
    assert network.looks == []


def test_the_first_address_that_listens_is_chosen() -> None:
    assert Network(B, C).addresses(A, B, C).choose() == B


def test_where_none_listens_each_has_its_turn() -> None:
    addresses = Network().addresses(A, B)

    assert [addresses.choose() for _ in range(3)] == [A, B, A]


def test_after_a_connection_that_ended_the_others_come_first() -> None:
    network = Network(A)
    addresses = network.addresses(A, B, C)
    addresses.choose()
    network.listening = {A, C}  # A was stopped: its system takes connections

    assert addresses.choose() == C


def test_the_only_one_that_listens_is_used_again() -> None:
    addresses = Network(A).addresses(A, B)

    assert [addresses.choose(), addresses.choose()] == [A, A]


def test_an_address_where_nothing_listens_is_left_as_soon_as_another_does() -> None:
    network = Network()
    addresses = network.addresses(A, B)
    addresses.choose()
    network.pass_time(LOOK)
    before = addresses.should_change(welcomed=False)
    network.listening.add(B)
    at_once = addresses.should_change(welcomed=False)
    network.pass_time(LOOK)

    assert (before, at_once) == (False, False)
    assert addresses.should_change(welcomed=False)
    assert addresses.choose() == B


def test_a_broker_that_takes_connections_has_time_to_answer() -> None:
    network = Network(A, B)
    addresses = network.addresses(A, B)
    addresses.choose()
    network.pass_time(ANSWER - 0.1)
    in_time = addresses.should_change(welcomed=False)
    network.pass_time(LOOK)

    assert not in_time
    assert addresses.should_change(welcomed=False)


def test_a_welcome_ends_the_search() -> None:
    network = Network(B)
    addresses = network.addresses(A, B)
    addresses.choose()
    network.pass_time(10 * ANSWER)

    assert not addresses.should_change(welcomed=True)
    assert addresses.next_look(welcomed=True) is None
    assert addresses.next_look(welcomed=False) is not None


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("tcp://a:1,", "'' in endpoint"),
        ("tcp://a:1,b:2", "'b:2' in endpoint"),
        ("tcp://a:1,inproc://b", "only tcp:// addresses can stand in a list"),
    ],
)
def test_a_wrong_address_in_a_list_is_named(endpoint: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Client(endpoint)
