"""The fuzzer of a broker's sockets, a modest run of it, and that it sees what it should see."""

import pytest

from tests.harness import socket_fuzz, wire_peer
from tests.harness.broker_process import BrokerProcess
from tests.harness.fuzz import main
from tests.harness.honest_work import HonestWork
from tests.harness.socket_fuzz import attack_sockets

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("keys", [False, True], ids=["open", "keys"])
@pytest.mark.parametrize("transport", ["router", "pushpull"])
def test_honest_tasks_come_back_right_beside_a_flood_of_damage(transport: str, keys: bool) -> None:
    """I14, I19."""
    report = attack_sockets(1_000, seed=3, transport=transport, keys=keys)

    assert report.inputs >= 1_000
    assert report.honest_tasks >= socket_fuzz.IN_FLIGHT


def test_a_broker_that_dies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(self: HonestWork) -> None:
        for broker in brokers:
            broker._process.kill()
            broker._process.wait()
        monkeypatch.setattr(wire_peer, "PATIENCE", 0.5)

    brokers: list[BrokerProcess] = []
    memory = BrokerProcess.memory

    def watched(self: BrokerProcess) -> int:
        brokers.append(self)
        return memory(self)

    monkeypatch.setattr(BrokerProcess, "memory", watched)
    monkeypatch.setattr(HonestWork, "work", work)

    with pytest.raises(AssertionError, match="neither takes nor sends anything"):
        attack_sockets(100, seed=3)


def test_a_broker_that_grows_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket_fuzz, "ALLOWED_GROWTH", -1)

    assert main(["--inputs", "400", "--sockets"]) == 1
    assert "the broker grew by" in capsys.readouterr().err


def test_a_result_that_is_not_the_tasks_own_is_noticed() -> None:
    with BrokerProcess() as broker, HonestWork(broker) as honest:
        honest.submit(2)
        first, second = honest._expected
        honest._expected[first], honest._expected[second] = (
            honest._expected[second],
            honest._expected[first],
        )

        with pytest.raises(AssertionError, match="another result than its own"):
            honest.finish()
