"""What a client waits for an answer to: tasks, cancels, questions, and their turns. Pure."""

import random

from attrs import define, field

from paintmq.client.commands import Send
from paintmq.client.in_flight import InFlight, Request
from paintmq.client.pending_cancels import PendingCancels
from paintmq.client.repetition import take_up
from paintmq.client.tracked_tasks import TrackedTask, TrackedTasks
from paintmq.task import TaskId, TaskRequest
from paintmq.wire.messages import Ask, Cancel


@define
class Requests:
    """What is asked for, when it falls due again, and whether it may be sent now."""

    rng: random.Random
    resend_first: float
    resend_most: float
    tasks: TrackedTasks = field(init=False)
    cancels: PendingCancels = field(init=False)
    asks: dict[int, Ask] = field(factory=dict[int, Ask], init=False)
    in_flight: InFlight = field(factory=InFlight, init=False)

    @tasks.default
    def _no_tasks(self) -> TrackedTasks:
        return TrackedTasks(self.rng, self.resend_first, self.resend_most)

    @cancels.default
    def _no_cancels(self) -> PendingCancels:
        return PendingCancels(self.rng, 2 * self.resend_first)

    # ---- tasks ---------------------------------------------------------------------------------

    def add_task(self, task_id: TaskId, request: TaskRequest | None, *, now: float) -> TrackedTask:
        """Follow the task: submit it, or ask after it where there is no request."""
        self.in_flight.add_task(task_id)
        return self.tasks.add(task_id, request, now=now)

    def repeat_task(self, task_id: TaskId) -> None:
        """Have the task submitted or asked after once more."""
        self.in_flight.repeat_task(task_id)

    def task_answered(self, task_id: TaskId) -> None:
        """Record that the broker has said how the task stands."""
        self.in_flight.remove_task(task_id)

    def drop_task(self, task_id: TaskId) -> bool:
        """Stop following the task; return whether it was followed."""
        self.in_flight.remove_task(task_id)
        return self.tasks.pop(task_id) is not None

    # ---- cancels and questions -----------------------------------------------------------------

    def add_cancel(self, task_id: TaskId) -> None:
        """Cancel the task, once the broker may know it."""
        self.cancels.hold(task_id)
        self.release_cancel(task_id)

    def release_cancel(self, task_id: TaskId) -> None:
        """Send a cancel that was held back, now that the broker knows the task."""
        if self.cancels.is_held(task_id) and self._knows(task_id):
            self.in_flight.repeat(("cancel", task_id))

    def hold_cancel(self, task_id: TaskId) -> None:
        """Hold a cancel back again, where there is one: the broker has forgotten the task."""
        if task_id in self.cancels:
            self.cancels.hold(task_id)
            self.in_flight.remove(("cancel", task_id))

    def drop_cancel(self, task_id: TaskId) -> bool:
        """Drop a cancel that was answered; return whether there was one."""
        if task_id not in self.cancels:
            return False
        self.in_flight.remove(("cancel", task_id))
        return self.cancels.drop(task_id)

    def add_ask(self, question: Ask) -> None:
        self.asks[question.request_id] = question
        self.in_flight.add(("ask", question.request_id))

    def drop_ask(self, request_id: int) -> bool:
        """Drop a question; return whether there was one."""
        self.in_flight.remove(("ask", request_id))
        return self.asks.pop(request_id, None) is not None

    # ---- sending -------------------------------------------------------------------------------

    def restart(self, *, now: float) -> None:
        """Have everything sent again on another connection, in the order it came."""
        for task in self.tasks:
            self.tasks.reset(task, now=now)
        cancels: list[Request] = [("cancel", each) for each in self.cancels if self._knows(each)]
        asks: list[Request] = [("ask", number) for number in self.asks]
        self.in_flight.restart((task.id for task in self.tasks), [*cancels, *asks])

    def fall_due(self, *, now: float) -> None:
        """Have sent again what was not answered in time."""
        for task in self.tasks.pop_due(now=now):
            self.in_flight.repeat_task(task.id)
        for task_id in self.cancels.pop_due(now=now):
            if self._knows(task_id):
                self.in_flight.repeat(("cancel", task_id))

    def next_due(self) -> float:
        """Return no later than when something falls due; infinity when nothing will."""
        return min(self.tasks.next_due(), self.cancels.next_due, self.in_flight.next_due())

    def flush(self, *, now: float, welcomed: bool) -> list[Send]:
        """Return the messages whose turn has come; they count as sent."""
        task_ids, requests = self.in_flight.take(now=now, welcomed=welcomed)
        sends: list[Send] = []
        if task_ids:
            found = map(self.tasks.get, task_ids)  # it leaves InFlight when it is dropped
            sends = take_up([task for task in found if task is not None])
        for request in requests:
            if request[0] == "ask":
                sends.append(Send(self.asks[request[1]]))
            else:
                assert request[0] == "cancel", "tasks are apart"
                self.cancels.schedule(request[1], now=now)
                sends.append(Send(Cancel(request[1])))
        return sends

    def _knows(self, task_id: TaskId) -> bool:
        """Return whether the broker may know the task, so that no cancel overtakes it."""
        task = self.tasks.get(task_id)
        return task is None or task.request is None or task.accepted
