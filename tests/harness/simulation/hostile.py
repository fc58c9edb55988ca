"""Programs with good keys and bad intent: a client and a worker who go for other keys' tasks.

They know more than they could learn: every task id, every fence, every routing id. What they send
must change nothing, and bring them nothing but refusals (I24); the broker's shell would add limits
of its own (I25).
"""

import json
import random
import re
from collections.abc import Collection, Sequence

from attrs import define, evolve, field

from paintmq.broker.machine import Credentials, Step
from paintmq.broker.records import StoredTask, TaskPurged
from paintmq.task import Json, PayloadInfo, PeerId, TaskError, TaskId
from paintmq.wire.messages import (
    Abandon,
    Accepted,
    Answer,
    Ask,
    Assign,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    Cancel,
    CancelAnswered,
    ClientHello,
    Finished,
    FromBroker,
    Heartbeat,
    Progressed,
    Query,
    ResultReceived,
    Submit,
    ToBroker,
    WorkerGoodbye,
    WorkerHello,
)
from tests.harness.simulation.broker import OPERATOR, SimulatedBroker

MALLORY, EVE = PeerId(b"mallory/1"), PeerId(b"eve/1")
"""The hostile client, and the hostile worker."""
SECONDS = 15.0
"""Between two of their acts, on average."""
LIMITED, LIMITED_TO = "client-1", ("cpu-light", "cpu-any")
"""The client whose key is for some queues alone, and which: its tasks never enter another."""
_AN_ID = re.compile(r"[0-9a-f]{12}7[0-9a-f]{19}")
SUBJECTS = (
    *("why", "dead_show", "tasks", "dead_list", "workers", "statistics", "route"),
    *("dead_requeue", "dead_drop", "cancel_tasks", "move_tasks"),
)
"""What of all that concerns tasks may be asked for; the broker's shell lets admins alone ask for
the last ones, but the machine must not rely on it."""
_FORGED = PayloadInfo(name="image", size=6, digest="f" * 64, kind="file")


def credentials_of(peer: PeerId) -> Credentials:
    """Return the credentials of a program in a cluster with keys: each has one of its name."""
    name = peer.decode().partition("/")[0]
    queues = LIMITED_TO if name == LIMITED else None
    return Credentials(key=name, is_admin=name == "operator", queues=queues)


@define
class Hostile:
    """Acts now and then, and looks at once at what came of it."""

    broker: SimulatedBroker
    rng: random.Random
    """Of its own, so that a run with it differs from one without by nothing else."""
    workers: Sequence[str]
    """Names of the honest workers."""
    peers: Sequence[PeerId] = ()
    """Connections of others, known at the start of the act."""
    acts: int = field(default=0, init=False)

    def act(self) -> None:
        """Go for one task that the broker knows."""
        machine = self.broker.machine
        if machine is None or self.broker.frozen_until > self.broker.agenda.now:
            return
        tasks = list(machine.stored().values())[-50:]
        if not tasks:
            return
        self.acts += 1
        task = self.rng.choice(tasks)
        kind = self.rng.random()
        if kind < 0.1:
            self._fetch_as_admin(task.request.id)
        elif kind < 0.2:
            self._order(task)
        elif kind < 0.5:
            self._say(MALLORY, ClientHello(name="mallory"))
            self._say(MALLORY, self._as_client(task))
        else:
            leased = [each for each in tasks if each.status.state.is_leased] or [task]
            self._as_worker(self.rng.choice(leased))

    def _fetch_as_admin(self, task_id: TaskId) -> None:
        """An operator, who is not hostile, looks at a task; its result stays its owner's."""
        self.broker.let_time_pass()
        for message in (ClientHello(name="operator"), Query((task_id,)), ResultReceived(task_id)):
            going = self._going_anyway()
            step = self.broker.receive_at_once(OPERATOR, message)
            changed_no_task(message, step, going)

    def _order(self, task: StoredTask) -> None:
        """The operator moves tasks from queue to queue, or removes one for a while."""
        queues = self.broker.queues
        kind = self.rng.random()
        if kind < 0.6:
            order = {"to": self.rng.choice([*queues]), "model": task.request.model}
            self.broker.ask("move_tasks", {**order})
        elif kind < 0.8:
            self.broker.use_queues([name for name in queues if name != "cpu-any"])
        else:
            self.broker.use_queues(queues)

    def _as_client(self, task: StoredTask) -> ToBroker:
        task_id, request = task.request.id, task.request
        subject = self.rng.choice(SUBJECTS)
        arguments: dict[str, Json] = {
            "task_id": task_id,
            "to": "cpu-spare",
            "model": request.model,
            "running": True,
            "state": task.status.state.value,
        }
        messages: list[ToBroker] = [
            Query((task_id,)),
            Cancel(task_id),
            ResultReceived(task_id),
            Submit(request),
            Submit(evolve(request, priority=9 - request.priority)),
            Ask(request_id=1, subject=subject, arguments=arguments),
        ]
        return self.rng.choice(messages)

    def _as_worker(self, task: StoredTask) -> None:
        task_id, fence = task.request.id, task.status.fence
        name = task.status.worker or self.rng.choice(self.workers)
        claim = ((task_id, fence),)
        replaces = self.rng.choice([PeerId(b""), *self.peers])
        running = self.rng.choice([(), claim])
        hello = WorkerHello(
            name=name,
            node="eve",
            queue="cpu-light",
            device="cpu",
            running=running,
            replaces=replaces,
        )
        error = TaskError(code="model_error", message="forged", retryable=self.rng.random() < 0.5)
        self._say(EVE, hello)
        messages: list[ToBroker] = [
            Heartbeat(running=claim),
            AttemptStarted(task_id=task_id, fence=fence, loading=True),
            AttemptProgressed(task_id=task_id, fence=fence, step=1, total=2),
            AttemptSucceeded(task_id=task_id, fence=fence, outputs=(_FORGED,), ran=1.0),
            AttemptFailed(task_id=task_id, fence=fence, error=error),
            AttemptCrashed(task_id=task_id, fence=fence, alone=True, detail="forged"),
            AttemptReturned(task_id=task_id, fence=fence, cancelled=False),
            WorkerGoodbye(),
        ]
        for message in self.rng.sample(messages, k=4):
            self._say(EVE, message)

    def _say(self, peer: PeerId, message: ToBroker) -> None:
        self.broker.let_time_pass()  # so that what is due anyway is not put down to it
        going = self._going_anyway()
        step = self.broker.receive_at_once(peer, message)
        changed_no_task(message, step, going)
        told_no_one_else(peer, message, step)
        for send in step.sends:
            learned_nothing(send.message, message)

    def _going_anyway(self) -> frozenset[TaskId]:
        """Return the tasks that any step may purge: on a full disk, what its owner confirmed."""
        machine = self.broker.machine
        if machine is None or not self.broker.disk_full:
            return frozenset()
        stored = machine.stored()
        return frozenset(each for each in stored if stored[each].status.acknowledged_at is not None)


def changed_no_task(message: ToBroker, step: Step, going: Collection[TaskId] = ()) -> None:
    """Raise AssertionError if a hostile message changed a task.

    Args:
        message: What was said.
        step: What the broker made of it.
        going: The tasks that the next step would have purged, whoever spoke.
    """
    led_to = [
        record
        for record in step.records
        if not (isinstance(record, TaskPurged) and record.task_id in going)
    ]
    assert not led_to, f"I24: {message} led to {led_to}"


def told_no_one_else(peer: PeerId, message: ToBroker, step: Step) -> None:
    """Raise AssertionError if anybody else was told of a hostile message."""
    others = [send for send in step.sends if send.peer != peer]
    assert not others, f"I24: {message} led to {others}"


def learned_nothing(heard: FromBroker, message: ToBroker) -> None:
    """Raise AssertionError if an answer tells of a task of another key."""
    match heard:
        case Accepted() | Finished() | Progressed() | Assign():
            raise AssertionError(f"I24: {message} was answered by {heard}")
        case CancelAnswered(answer=answer):
            assert answer == "unknown", f"I24: {message} was answered by {heard}"
        case Answer(value=value):
            named = _AN_ID.findall(json.dumps(value))
            assert not named, f"I24: {message} named {named}"
        case Abandon(task_id=task_id):
            assert _is_named_in(message, task_id), f"I24: {message} was told of {task_id}"
        case _:
            pass


def _is_named_in(message: ToBroker, task_id: TaskId) -> bool:
    return task_id in str(message)
