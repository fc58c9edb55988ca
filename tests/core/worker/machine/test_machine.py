"""The rules of WorkerMachine towards its broker, which is played by hand as is the host."""

from tests.harness.worker_bench import Bench, key_of, make_bench, returned

from paintmq.task import PeerId
from paintmq.wire.messages import (
    AttemptRecorded,
    AttemptReturned,
    AttemptSucceeded,
    BrokerHeartbeat,
    Drain,
    Draining,
    Heartbeat,
    Refused,
    WhoAreYou,
    WorkerGoodbye,
    WorkerHello,
    WorkerWelcome,
)
from paintmq.worker.channel.messages import (
    HostBeat,
    HostReady,
)
from paintmq.worker.machine.commands import (
    KillHost,
    Leave,
    Reconnect,
    StartHost,
)


def test_a_fresh_worker_introduces_itself_and_starts_no_host() -> None:
    bench = make_bench()

    commands = bench.connect()

    (hello,) = bench.said_of(WorkerHello)
    assert hello.name == "node/cpu-0"
    assert hello.models == ("alpha", "beta", "gamma")
    assert hello.unavailable == {"delta": "it needs torch"}
    assert hello.credit == 2
    assert len(commands) == 1


def test_an_unanswered_hello_is_tried_again_on_new_connections_ever_more_slowly() -> None:
    bench = make_bench()
    waits = []
    for _ in range(6):
        bench.connect()
        before = bench.now
        assert Reconnect("the broker is silent") in bench.until_deadline()
        waits.append(bench.now - before)

    assert waits == [2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_a_new_connection_names_the_one_it_replaces_and_what_it_still_holds(warm: Bench) -> None:
    warm.assign(1)
    commands = warm.connect()

    (hello,) = warm.said_of(WorkerHello, commands)
    assert hello.replaces == PeerId(b"peer1")
    assert hello.running == (key_of(1),)
    assert [model.model for model in hello.resident] == ["alpha"]


def test_a_silent_broker_is_left_after_three_missed_heartbeats(bench: Bench) -> None:
    bench.at(bench.now + 14.9)
    assert not [c for c in bench.commands if isinstance(c, Reconnect)]

    assert Reconnect("the broker is silent") in bench.at(bench.now + 0.1)


def test_anything_the_broker_says_shows_that_it_lives(bench: Bench) -> None:
    bench.at(bench.now + 14.9)
    bench.hear(BrokerHeartbeat())

    bench.at(bench.now + 14.9)

    assert not [c for c in bench.commands if isinstance(c, Reconnect)]


def test_a_restarted_broker_is_told_everything_again_once(warm: Bench) -> None:
    warm.assign(1, 2)
    warm.end(1, batch=2)

    assert warm.hear(WhoAreYou()) == [Reconnect("the broker does not know this session")]
    commands = warm.connect()

    assert [type(message) for message in warm.said(commands)] == [WorkerHello, AttemptSucceeded]
    assert warm.hear(WhoAreYou()) == [], "the answer to what was said before the hello"


def test_a_refused_worker_asks_again_after_a_minute(bench: Bench) -> None:
    bench.connect()
    bench.hear(Refused("protocol version 1 to 1 is too old"))
    bench.at(bench.now + 59.9)
    assert not [c for c in bench.commands if isinstance(c, Reconnect)]

    assert Reconnect("the broker is silent") in bench.at(bench.now + 0.1)


def test_heartbeats_come_at_the_rate_the_broker_wants_and_name_what_will_be_answered(
    warm: Bench,
) -> None:
    warm.host(HostBeat(memory_mb=400, gpu_memory_free_mb=5))
    warm.assign(1)
    warm.end(1, batch=2)
    warm.assign(2)
    warm.at(warm.now + 4.9)
    assert warm.said_of(Heartbeat) == []

    warm.at(warm.now + 0.1)

    (beat,) = warm.said_of(Heartbeat)
    assert beat.running == (key_of(2), key_of(1))
    assert (beat.memory_free_mb, beat.gpu_memory_free_mb) == (600, 5)


# ---- leaving ---------------------------------------------------------------------------------


def test_draining_hands_back_what_has_not_begun_and_finishes_the_rest(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2, model="beta")
    commands = warm.hear(Drain(30.0))
    assert warm.said(commands) == [Draining(), returned(2, cancelled=False)]
    assert warm.machine.is_draining
    assert warm.said(warm.assign(3)) == [Draining(), returned(3, cancelled=False)]

    assert Leave() not in warm.end(1, batch=2)
    commands = warm.hear(AttemptRecorded(*key_of(1)))

    assert warm.said(commands) == [WorkerGoodbye()]
    assert commands[-1] == Leave()
    assert warm.machine.next_deadline() is None


def test_draining_hands_back_what_does_not_finish_in_time(warm: Bench) -> None:
    warm.assign(1)
    warm.did(warm.machine.drain(30.0, now=warm.now))
    warm.did(warm.machine.drain(3.0, now=warm.now))
    commands = warm.at(warm.now + 3.0)

    assert KillHost("was killed: the worker drains") in commands
    assert warm.said_of(AttemptReturned, commands) == [returned(1, cancelled=False)]
    assert Leave() in commands


def test_draining_does_not_wait_for_ever_for_a_record(warm: Bench) -> None:
    warm.assign(1)
    warm.end(1, batch=2)
    warm.did(warm.machine.drain(3.0, now=warm.now))
    assert Leave() not in warm.at(warm.now + 2.9)

    assert Leave() in warm.at(warm.now + 0.1)


def test_a_crash_while_draining_hands_back_what_had_been_sent_ahead(warm: Bench) -> None:
    warm.assign(1)
    warm.begin(2)
    warm.assign(2)
    warm.hear(Drain(30.0))

    commands = warm.exit()

    assert warm.said_of(AttemptReturned, commands) == [returned(2, cancelled=False)]
    assert StartHost() not in commands


def test_a_draining_worker_says_so_on_a_new_connection(warm: Bench) -> None:
    warm.assign(1)
    warm.hear(Drain(30.0))

    assert warm.said(warm.connect())[-1] == Draining()


def test_an_idle_worker_leaves_at_once_and_does_nothing_more(bench: Bench) -> None:
    assert Leave() in bench.hear(Drain(30.0))

    assert bench.hear(WorkerWelcome(incarnation=1, heartbeat=5.0, lease=30.0)) == []
    assert bench.at(bench.now + 100.0) == []
    assert bench.did(bench.machine.drain(1.0, now=bench.now)) == []
    assert bench.exit() == []


def test_how_long_a_host_that_keeps_dying_is_not_replaced_can_be_asked(warm: Bench) -> None:
    pauses = []
    for number in (1, 2, 3):
        warm.assign(number)
        warm.host(HostReady())
        warm.exit()
        pauses.append(warm.machine.host_pause(now=warm.now))
        warm.at(warm.now + pauses[-1])

    assert pauses == [0.0, 1.0, 2.0], "the first death is no reason to wait"
    assert warm.machine.host_pause(now=warm.now - 0.5) == 0.5
