"""Queues added, changed, paused and removed while tasks wait and run."""

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.broker_harness import (
    ALICE,
    W1,
    W2,
    BrokerHarness,
    beat,
    fail,
    ready,
    rejection,
    restarted,
    workers,
)

from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.records import SettingsChanged, TaskChanged
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.task import TaskId, TaskState
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import Abandon, Accepted, Assign, Preload, Progressed, Refused

A, B = QueueConfig(), QueueConfig(effort="light")
INTENSIVE = QueueConfig(effort="intensive")


def request(number: int, **changes: Any) -> Any:
    return evolve(make_request(), id=TaskId(f"{number:032x}"), **changes)


def reconfigure(
    broker: BrokerHarness, queues: Mapping[str, QueueConfig], **changes: Any
) -> list[Any]:
    new = Reconfiguration(
        **{
            "queues": queues,
            "timers": Timers(),
            "limits": Limits(),
            "admission": "wait",
            **changes,
        }
    )
    return broker.take(broker.machine.reconfigure(new, now=broker.now))


def waiting_broker(**queues: QueueConfig) -> BrokerHarness:
    """Return a broker with a client and without workers."""
    broker = ready(queues=queues or {"a": A, "b": B})
    broker.receive(W1, broker_goodbye())
    return broker


def broker_goodbye() -> Any:
    from paintmq.wire.messages import WorkerGoodbye

    return WorkerGoodbye()


class TestRemoval:
    def test_waiting_tasks_go_to_a_queue_that_can_hold_them(self) -> None:
        broker = waiting_broker()
        task = broker.submit(request(1, queue="a"))

        reconfigure(broker, {"b": B})

        assert broker.status(task).queue == "b"
        told = broker.heard(ALICE, Progressed)[-1]
        assert told.note == "moved to b: queue a was removed"
        moved = broker.records[-1]
        assert isinstance(moved, TaskChanged)
        assert (moved.event, moved.status.queue) == ("move", "b")

    def test_a_task_that_no_queue_can_hold_is_a_dead_letter_with_the_reason(self) -> None:
        broker = waiting_broker(a=A, b=INTENSIVE)
        task = broker.submit(request(1))

        reconfigure(broker, {"b": INTENSIVE})

        status = broker.status(task)
        assert status.state is TaskState.DEAD
        assert status.error.code == "queue_removed"
        assert status.error.message == (
            "queue a was removed; b: takes intensive tasks, this one is light"
        )

    def test_a_dead_letter_of_a_removed_queue_is_requeued_where_it_fits(self) -> None:
        broker = waiting_broker(a=A, b=INTENSIVE)
        task = broker.submit(request(1))
        reconfigure(broker, {"b": INTENSIVE})
        assert "no queue can hold" in broker.ask("dead_requeue", task_id=task.id).error

        reconfigure(broker, {"b": INTENSIVE, "c": B})

        assert broker.ask("dead_requeue", task_id=task.id).error == ""
        assert broker.status(task).queue == "c"

    def test_what_runs_goes_on_and_what_comes_back_goes_elsewhere(self) -> None:
        broker = ready(queues={"a": A, "b": B})
        broker.join(W2, queue="b")
        task = broker.submit(request(1, queue="a"))
        holder = W1 if broker.assigned(W1) else W2
        (item,) = broker.assigned(holder)

        reconfigure(broker, {"b": B})
        assert broker.status(task).state.is_leased
        fail(broker, item, retryable=True, worker=holder)

        assert broker.status(task).queue == "b"
        assert broker.status(task).state is TaskState.QUEUED

    def test_its_workers_are_sent_away_and_keep_what_they_run(self) -> None:
        broker = ready(queues={"a": A, "b": B})
        broker.receive(W1, broker_goodbye())
        broker.join(W1, queue="a")
        task = broker.submit(request(1))
        (item,) = broker.assigned(W1)
        broker.start(item)

        reconfigure(broker, {"b": B})
        assert broker.heard(W1, Refused)[-1].reason == "queue a was removed"
        broker.join(W1, queue="a")
        assert broker.heard(W1, Refused)[-1].reason == "queue a was removed"
        broker.join(W2, name="node/cpu-0", queue="b", running=((task.id, item.fence),), replaces=W1)

        broker.succeed(item, worker=W2)
        assert broker.status(task).state is TaskState.SUCCEEDED
        assert broker.status(task).attempt == 1

    def test_tasks_of_other_queues_stay_where_they_are(self) -> None:
        broker = waiting_broker()
        task = broker.submit(request(1, queue="b"))

        reconfigure(broker, {"b": B})

        assert broker.heard(ALICE, Progressed) == []
        assert broker.status(task).queue == "b"

    def test_what_comes_back_too_late_has_expired_and_goes_nowhere(self) -> None:
        broker = ready(queues={"a": A, "b": B})
        task = broker.submit(request(1, queue="a", expires_in=5.0))
        (item,) = broker.assigned(W1)
        broker.start(item)
        reconfigure(broker, {"b": B})
        broker.now += 6.0

        fail(broker, item, retryable=True)

        assert broker.status(task).state is TaskState.EXPIRED

    def test_a_queue_may_come_back(self) -> None:
        broker = waiting_broker()
        reconfigure(broker, {"b": B})
        reconfigure(broker, {"a": A, "b": B})

        broker.join(W1, queue="a")
        task = broker.submit(request(1, queue="a"))

        assert broker.status(task).state is TaskState.LEASED


class TestPausing:
    def test_tasks_of_a_paused_queue_wait_and_say_why(self) -> None:
        broker = ready(queues={"a": A, "b": B})
        reconfigure(broker, {"a": A, "b": B}, paused=("a",))

        task = broker.submit(request(1, queue="a"))

        reason = "its queue a is paused; `paintmq queues resume a` lets it go on"
        assert broker.heard(ALICE, Accepted)[-1].waiting_for == reason
        why: Any = broker.ask("why", task_id=task.id).value
        assert why["waiting_for"] == reason
        assert broker.heard(W1, Assign) == []

    def test_they_go_on_when_it_is_resumed(self) -> None:
        broker = waiting_broker()
        first = broker.submit(request(1, queue="a"))
        reconfigure(broker, {"a": A, "b": B}, paused=("a",))
        second = broker.submit(request(2, queue="a"))
        broker.join(W1)
        assert broker.assigned(W1) == []

        reconfigure(broker, {"a": A, "b": B})
        broker.succeed(broker.assigned(W1)[0])

        assert [item.task.id for item in broker.assigned(W1)] == [first.id, second.id]

    def test_a_task_can_be_cancelled_while_its_queue_is_paused(self) -> None:
        broker = waiting_broker()
        reconfigure(broker, {"a": A, "b": B}, paused=("a",))
        task = broker.submit(request(1, queue="a"))

        assert broker.ask("cancel_tasks", queue="a").value == {"cancelled": 1, "more": 0}
        assert broker.status(task).state is TaskState.CANCELLED

    def test_a_drained_queue_takes_nothing_new_and_finishes_what_it_has(self) -> None:
        broker = waiting_broker(a=A)
        task = broker.submit(request(1))
        reconfigure(broker, {"a": A}, closed=("a",))

        broker.submit(request(2))
        broker.join(W1)

        assert rejection(broker).code == "draining"
        assert rejection(broker).reason == "queue a takes no new tasks: an operator drains it"
        assert [item.task.id for item in broker.assigned(W1)] == [task.id]

    def test_a_task_goes_to_a_queue_that_is_not_drained_if_there_is_one(self) -> None:
        broker = waiting_broker(a=A, b=B)
        reconfigure(broker, {"a": A, "b": B}, closed=("a",))

        task = broker.submit(request(1))

        assert broker.status(task).queue == "b"


class TestOtherSettings:
    def test_another_capacity_and_another_limit_count_at_once(self) -> None:
        broker = waiting_broker(a=A)
        broker.submit(request(1))

        reconfigure(broker, {"a": QueueConfig(capacity=1)})
        broker.submit(request(2))
        assert rejection(broker).code == "queue_full"
        reconfigure(broker, {"a": A}, limits=Limits(max_tasks=1))
        broker.submit(request(3))
        assert "limits.max_tasks" in rejection(broker).reason

    def test_another_admission_counts_at_once(self) -> None:
        broker = waiting_broker(a=A)

        reconfigure(broker, {"a": A}, admission="strict")
        broker.submit(request(1))

        assert rejection(broker).code == "no_worker"

    def test_what_is_to_be_kept_is_recorded_before_what_follows_from_it(self) -> None:
        broker = waiting_broker()
        broker.submit(request(1, queue="a"))
        before = len(broker.records)

        reconfigure(broker, {"b": B}, kept="{}")

        kinds = [type(record) for record in broker.records[before:]]
        assert kinds == [SettingsChanged, TaskChanged]


class TestOrders:
    def test_tasks_are_moved_where_they_fit_and_stay_where_they_do_not(self) -> None:
        broker = waiting_broker(a=A, b=B, c=INTENSIVE)
        task = broker.submit(request(1, queue="a"))

        assert broker.ask("move_tasks", to="b", queue="a").value == {
            "moved": 1,
            "more": 0,
            "kept": "",
        }
        assert broker.status(task).queue == "b"
        answer: Any = broker.ask("move_tasks", to="c", model="toy").value
        assert answer["kept"] == f"{task.id} stays: c takes intensive tasks, this one is light"
        assert broker.ask("move_tasks", to="b", queue="b").value == {
            "moved": 0,
            "more": 0,
            "kept": "",
        }
        assert "there are a, b, c" in broker.ask("move_tasks", to="d", queue="a").error

    def test_an_order_leaves_tasks_that_do_not_match_alone(self) -> None:
        broker = waiting_broker()
        task = broker.submit(request(1, queue="a"))

        assert broker.ask("cancel_tasks", queue="b").value == {"cancelled": 0, "more": 0}
        assert broker.ask("cancel_tasks", queue="a", model="x").value == {
            "cancelled": 0,
            "more": 0,
        }
        assert broker.status(task).state is TaskState.QUEUED

    def test_an_order_about_tasks_says_which(self) -> None:
        broker = waiting_broker()

        assert "say which tasks" in broker.ask("cancel_tasks").error
        assert "is no name" in broker.ask("cancel_tasks", queue=5).error

    def test_running_tasks_are_cancelled_only_if_that_is_said(self) -> None:
        broker = ready(queues={"a": A})
        task = broker.submit(request(1))

        assert broker.ask("cancel_tasks", queue="a").value == {"cancelled": 0, "more": 0}
        assert broker.status(task).state.is_leased
        broker.ask("cancel_tasks", tenant="", running=True)
        assert broker.status(task).state is TaskState.CANCELLED
        assert len(broker.heard(W1, Abandon)) == 1

    def test_a_cordoned_node_keeps_what_it_runs_and_gets_nothing_until_it_is_uncordoned(
        self,
    ) -> None:
        broker = ready(queues={"a": A})
        first = broker.submit(request(1))
        (item,) = broker.assigned(W1)
        assert broker.ask("cordon", name="node").value == ["node/cpu-0"]
        second = broker.submit(request(2))
        broker.succeed(item)
        broker.join(W2)  # of the same node
        assert broker.status(first).state is TaskState.SUCCEEDED
        assert broker.status(second).state is TaskState.QUEUED
        assert [row["cordoned"] for row in workers(broker)] == [True, True]

        assert broker.ask("uncordon", name="node").value == ["node/cpu-0", "node/cpu-1"]

        assert broker.status(second).state.is_leased
        assert "these are: none" in broker.ask("uncordon", name="node").error
        assert "connected: node/cpu-0" in broker.ask("cordon", name="x").error

    def test_a_worker_cordoned_with_its_node_too_stays_so(self) -> None:
        broker = ready(queues={"a": A})
        broker.ask("cordon", name="node")
        broker.ask("cordon", name="node/cpu-0")

        assert broker.ask("uncordon", name="node").value == []

    def test_names_to_cordon_are_limited(self, monkeypatch: Any) -> None:
        monkeypatch.setattr("paintmq.broker.machine.orders.MOST_CORDONED", 0)

        assert "uncordon some" in ready(queues={"a": A}).ask("cordon", name="node").error

    def test_a_model_is_preloaded_on_a_node_that_can_run_it(self) -> None:
        broker = ready(queues={"a": A})

        assert broker.ask("preload", name="node", model="toy").value == ["node/cpu-0"]
        assert broker.heard(W1, Preload)[-1].model == "toy"
        assert "cannot run model 'x'" in broker.ask("preload", name="node", model="x").error


NAMES = ("a", "b", "c")
_queues = st.dictionaries(st.sampled_from(NAMES), st.just(A), min_size=1)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(NAMES)),
        st.tuples(st.just("queues"), st.tuples(_queues, st.sets(st.sampled_from(NAMES)))),
        st.tuples(st.just("finish"), st.booleans()),
        st.tuples(st.just("die"), st.none()),
    ),
    max_size=16,
)


@settings(max_examples=15)
@given(_steps)
def test_no_accepted_task_is_lost_whatever_happens_to_queues_and_broker(
    steps: list[tuple[str, Any]],
) -> None:
    """I1: accepted tasks are known and end, also over kills between any two steps."""
    broker = ready(queues=dict.fromkeys(NAMES, A))
    queues, count, accepted = dict.fromkeys(NAMES, A), 0, []
    for step, what in steps:
        if step == "submit":
            count += 1
            task = broker.submit(request(count, queue=what if what in queues else ""))
            accepted.append(task)
        elif step == "queues":
            queues, paused = what
            reconfigure(broker, queues, paused=tuple(sorted(paused)))
        elif step == "finish":
            for item in broker.assigned(W1):
                if broker.status(item.task).fence == item.fence:
                    if what:
                        broker.succeed(item)
                    elif broker.status(item.task).state.is_leased:
                        fail(broker, item, retryable=True)
        else:
            before, broker = broker, restarted(broker, queues=queues)
            broker.records[:0] = before.records
            broker.greet(ALICE)
            broker.join(W1, queue=next(iter(queues)))

    assert all(task.id in broker.machine.stored() for task in accepted)
    reconfigure(broker, {"z": A})
    broker.join(W2, queue="z", name="other/cpu-0")
    seen = 0
    for _ in range(len(accepted) + 8):
        while len(items := broker.assigned(W2)) > seen:
            seen += 1
            broker.succeed(items[seen - 1], worker=W2)
        beat(broker, worker=W2)
        broker.let_pass(20.0)
    ended = [broker.machine.stored().get(task.id) for task in accepted]
    assert all(task is None or task.status.state is TaskState.SUCCEEDED for task in ended)
