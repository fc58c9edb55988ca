"""Gives the machine its inputs and carries out what it answers: journal first, then messages.

One place for what every input has in common: it is recorded, an exception is contained, observers
see the outcome, records go to the journal and messages queue behind them.
"""

from collections.abc import Callable, Sequence

import msgspec
from attrs import define, field

from paintmq.broker.connections.outbox import Outgoing
from paintmq.broker.connections.sender import Sender
from paintmq.broker.machine import NO_KEYS, BrokerMachine, Credentials, Step
from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.recording.observing import Follower, Recorder
from paintmq.broker.records import Recovered, TaskChanged
from paintmq.broker.shell.containment import Containment
from paintmq.broker.stores import PayloadKey
from paintmq.broker.stores.failpoints import failpoint
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache, payloads_kept
from paintmq.config import RouterConfig
from paintmq.routing import Router
from paintmq.task import PeerId
from paintmq.wire.messages import AttemptProgressed, FromBroker, Progressed, ToBroker
from paintmq.wire.transfer import Payload, joined


class _Delivered(msgspec.Struct, frozen=True, gc=False):
    """A message with payloads, and which records of its step it led to."""

    message: ToBroker
    payloads: Sequence[Payload]
    first: int
    after: int


@define
class MachineDriver:
    """The machine, its journal and its way out."""

    machine: BrokerMachine
    _journal: Journal
    _payloads: PayloadCache
    _sender: Sender
    _containment: Containment
    _recorder: Recorder | None = None
    _observers: list[Follower] = field(factory=list[Follower])
    """The recorder is not among them: it sees each step first."""
    _open: bool = field(default=False, init=False)
    """Whether messages were taken in whose step is not finished."""
    _records: int = field(default=0, init=False)
    """How many records the open step has."""
    _delivered: list[_Delivered] = field(factory=list[_Delivered], init=False)
    """Those among them that brought payloads."""

    # ---- inputs --------------------------------------------------------------------------------

    def restore(self, recovered: Recovered, *, now: float) -> None:
        """Take over what the journal holds; call it once, before any other input."""
        damaged = frozenset(recovered.damaged)
        endings = [
            TaskChanged(task.request.id, "finish", task.status)
            for task in recovered.tasks
            if task.request.id in damaged
        ]
        failpoint("restore.before_write")
        self._journal.write(endings, {}, now=now)
        if self._recorder is not None:
            self._recorder.restored(now, recovered)
        # Not contained: a broker that cannot take over its tasks must not start.
        self._carry_out(self.machine.restore(recovered.tasks, now=now), now)
        for observer in self._observers:
            observer.took_over(recovered.tasks, now)

    def receive(
        self,
        peer: PeerId,
        message: ToBroker,
        *,
        now: float,
        payloads: Sequence[Payload] = (),
        credentials: Credentials = NO_KEYS,
    ) -> bool:
        """Give the machine a message; return whether it could handle it.

        Its step stays open for others: call ``finish`` when no more is read for now. Not so where
        the input is recorded, as a line there is one input and its answer, nor where a preview
        must find its way to the messages of this very input.
        """
        if self._recorder is not None or isinstance(message, AttemptProgressed):
            return self._receive_alone(peer, message, payloads, credentials, now)
        first = self._records if self._open else 0
        self._open = True
        try:
            self._records = self.machine.take_in(peer, message, now=now, credentials=credentials)
        except BaseException as error:  # noqa: BLE001 -- the containment raises what is not for it
            self._containment.machine_failed(error, lambda: ("a message", peer, message), now)
            step = self._recovered(type(error).__name__, now)
            self._note(message, payloads, first, len(step.records))
            self._open = False
            self._carry_out(step, now)
            return False
        if payloads:
            self._delivered.append(_Delivered(message, payloads, first, self._records))
        return True

    def finish(self, *, now: float) -> None:
        """Finish the step of what was taken in: dispatch, record, send."""
        if self._open:
            self._open = False
            self._step(lambda: self.machine.finish(now=now), lambda: "dispatching", now)

    def _note(self, message: ToBroker, payloads: Sequence[Payload], first: int, after: int) -> None:
        if payloads:
            self._delivered.append(_Delivered(message, payloads, first, after))

    def _receive_alone(
        self,
        peer: PeerId,
        message: ToBroker,
        payloads: Sequence[Payload],
        credentials: Credentials,
        now: float,
    ) -> bool:
        self.finish(now=now)
        if self._recorder is not None:
            self._recorder.received(now, peer, message, credentials)
        handled = self._step(
            lambda: self.machine.receive(peer, message, now=now, credentials=credentials),
            lambda: ("a message", peer, message),
            now,
            message,
            payloads,
        )
        if self._observers and isinstance(message, AttemptProgressed):
            self._tell_progress(message, now)
        return handled

    def _tell_progress(self, message: AttemptProgressed, now: float) -> None:
        """Tell observers what the machine makes of it, whoever said what."""
        found = self.machine.progress_of(message.task_id)
        if found is not None and found[0].status.has_fence(message.fence):
            for observer in self._observers:
                observer.progressed(*found, now)

    def peer_lost(self, peer: PeerId, *, now: float) -> None:
        self.finish(now=now)
        if self._recorder is not None:
            self._recorder.lost(now, peer)
        self._step(
            lambda: self.machine.peer_lost(peer, now=now), lambda: ("the loss of", peer), now
        )

    def tick(self, *, now: float) -> None:
        """Let time pass, if anything is due."""
        self.finish(now=now)
        deadline = self.machine.next_deadline()
        if deadline is not None and deadline <= now:
            if self._recorder is not None:
                self._recorder.ticked(now)
            self._step(lambda: self.machine.tick(now=now), lambda: ("a deadline", now), now)

    def drain(self, *, now: float) -> None:
        """Accept and dispatch nothing more."""
        self.finish(now=now)
        if self._recorder is not None:
            self._recorder.draining(now)
        self.machine.set_draining()

    def replace_router(self, router: Router, config: RouterConfig, *, now: float) -> None:
        """Use another router from now on; ``config`` is what it was made from."""
        self.finish(now=now)
        if self._recorder is not None:
            self._recorder.rerouted(now, config)
        self._step(
            lambda: self.machine.replace_router(router, now=now),
            lambda: ("a router", config),
            now,
        )

    def reconfigure(self, new: Reconfiguration, *, now: float) -> None:
        """Use other settings from now on."""
        self.finish(now=now)
        if self._recorder is not None:
            self._recorder.reconfigured(now, new)
        self._step(
            lambda: self.machine.reconfigure(new, now=now), lambda: ("other settings", new), now
        )

    # ---- outputs -------------------------------------------------------------------------------

    def _step(
        self,
        handle: Callable[[], Step],
        what: Callable[[], object],
        now: float,
        message: ToBroker | None = None,
        payloads: Sequence[Payload] = (),
    ) -> bool:
        try:
            step, handled = handle(), True
        except BaseException as error:  # noqa: BLE001 -- the containment raises what is not for it
            self._containment.machine_failed(error, what, now)
            step, handled = self._recovered(type(error).__name__, now), False
        else:
            self._containment.succeeded()
        if message is not None:
            self._note(message, payloads, 0, len(step.records))
        self._carry_out(step, now, payloads)
        return handled

    def _recovered(self, reason: str, now: float) -> Step:
        try:
            return self.machine.recover(reason, now=now)
        except BaseException as error:  # noqa: BLE001 -- as above
            self._containment.machine_failed(error, lambda: "giving a task up", now)
            return self.machine.recover(reason, now=now)

    def _carry_out(
        self,
        step: Step,
        now: float,
        previews: Sequence[Payload] = (),
    ) -> None:
        """Hand the records of a step to the journal, and queue its messages behind them."""
        if self._recorder is not None:
            self._recorder.stepped(step)
        for observer in self._observers:
            observer.stepped(step)
        failpoint("machine.after_step")
        kept = self._payloads_kept(step) if self._delivered else {}
        before = self._journal.sequence
        sequence = self._journal.write(step.records, kept, now=now)
        for place, items in kept.items():
            for key, data in items:
                self._payloads.put(key, data, sequence=before + place + 1)
        self._payloads.follow(step.records)
        if previews:
            self._sender.send_after(
                sequence,
                [
                    Outgoing(send, tuple(previews) if _shows(send.message) else None)
                    for send in step.sends
                ],
            )
        else:
            self._sender.send_after(sequence, map(Outgoing, step.sends))

    def _payloads_kept(self, step: Step) -> dict[int, list[tuple[PayloadKey, Payload]]]:
        """Return which payloads are stored, by the place of their record in the step.

        A payload belongs to a record of its own message alone: another one in the same step may
        have brought other bytes under the same name.
        """
        kept: dict[int, list[tuple[PayloadKey, Payload]]] = {}
        delivered, self._delivered = self._delivered, []
        whole = self._journal.needs_payloads
        for each in delivered:
            if each.first == each.after:
                continue  # a repetition, or what came too late
            payloads = tuple(map(joined, each.payloads)) if whole else each.payloads
            records = step.records[each.first : each.after]
            for place, items in payloads_kept(each.message, payloads, records).items():
                kept[each.first + place] = items
        return kept


def _shows(message: FromBroker) -> bool:
    """Return whether a preview follows the message."""
    return isinstance(message, Progressed) and bool(message.preview)
