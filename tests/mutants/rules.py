"""Rules of the production code, each broken on purpose, and the test that must mind.

The simulation has mutants of its own (``tests.harness.simulation.mutants``). These are of rules
that it cannot see, or that a test of their own must hold as well.
"""

import mmap
from collections.abc import Iterator, Sequence
from heapq import heappush
from types import SimpleNamespace
from typing import Any

from attrs import frozen

from paintmq.broker.connections import endpoints, sender
from paintmq.broker.connections.outbox import Outbox, Outgoing
from paintmq.broker.machine import client_handler, membership, reconfiguration, worker_handler
from paintmq.broker.machine.admission import Admission
from paintmq.broker.machine.credentials import Credentials
from paintmq.broker.machine.leases import Leases
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.membership import Membership
from paintmq.broker.machine.queues import feasibility
from paintmq.broker.machine.retention import Retention
from paintmq.broker.machine.step import StepBuilder
from paintmq.broker.machine.tasks import TaskTable
from paintmq.broker.machine.zombies import ZombieAttempts
from paintmq.broker.scheduling.backlog import RankedTasks
from paintmq.broker.scheduling.decisions import Decisions
from paintmq.broker.scheduling.pending_tasks import PendingTasks
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.broker.scheduling.tenant_window import TenantWindow
from paintmq.broker.scheduling.worker import Worker
from paintmq.broker.shell.clock import BrokerClock
from paintmq.broker.stores import blobs, database, payload_cache
from paintmq.broker.stores.blobs import BlobFolder
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.restoring import TaskRow
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.broker.stores.store import PayloadKey
from paintmq.client import requests as client_requests
from paintmq.client.commands import Command, Send, TaskEnded
from paintmq.client.machine import ClientMachine
from paintmq.deadlines import Deadlines
from paintmq.image import payloads as image_payloads
from paintmq.task import TaskState
from paintmq.task_status import TaskStatus
from paintmq.transport.connection_throttle import ConnectionThrottle
from paintmq.transport.connection_watch import ConnectionWatch
from paintmq.transport.multipart import MultipartReader
from paintmq.transport.pipes import WorkerConnection
from paintmq.wire import frames
from paintmq.wire.codec import _Codec
from paintmq.wire.link import Link
from paintmq.wire.messages import Finished, ResultReceived
from paintmq.wire.runs import Column
from paintmq.worker.channel.arena import IncomingArena
from paintmq.worker.channel.batch_mark import BatchMark
from paintmq.worker.host.original_pixels import OriginalPixels
from paintmq.worker.machine import batches
from paintmq.worker.machine.attempts import Answers
from paintmq.worker.machine.host_life import HostLife
from paintmq.worker.machine.unconfirmed import UnconfirmedEndings

_OPEN_PIPES = WorkerConnection.open_pipes
_VIEW = IncomingArena.view


@frozen
class BrokenRule:
    """One rule, what it is replaced by, and the test that fails then."""

    name: str
    """What the mutant does."""
    invariant: str
    owner: Any
    attribute: str
    broken: Any
    caught_by: str
    """The test that must fail: its name, without ``test_``."""


def _anywhere(queues: Any, checked: Any, allowed: object) -> Any:
    return feasibility(queues, checked)


def _believed(
    task_id: str, request: bytes, _check: bytes, _sequence: int, status: bytes, _status_check: bytes
) -> TaskRow:
    return TaskRow(task_id, request, status)


def _nothing(*arguments: Any, **more: Any) -> None:
    """Do nothing, instead of what should be done."""


def _yes(*arguments: Any, **more: Any) -> bool:
    return True


def _no(*arguments: Any, **more: Any) -> bool:
    return False


def _empty(*arguments: Any, **more: Any) -> list[Any]:
    return []


def _all_at_once(self: Outbox, durable: int) -> Iterator[Outgoing]:
    while self._waiting:
        yield from self._waiting.popleft()[1]


def _every_ending(self: ClientMachine, message: Finished) -> list[Command]:
    self._requests.drop_task(message.task_id)
    return [TaskEnded(message), Send(ResultReceived(message.task_id))]


def _same_attempt(status: Any, **changes: Any) -> Any:
    changes.pop("attempt", None)
    return status.changed(**changes)


def _ended_is_not_leased(self: Leases, task_id: Any, fence: Any, session: Any) -> Any:
    entry = self._step.tasks.get(task_id)
    return entry if entry is not None and entry.status.fence == fence else None


def _any_fence(self: Leases, task_id: Any, fence: Any, session: Any) -> Any:
    entry = self._step.tasks.get(task_id)
    return entry if entry is not None and entry.status.state.is_leased else None


def _any_claim(self: Leases, task_id: Any, fence: Any, worker: Any) -> bool:
    entry = self._step.tasks.get(task_id)
    return entry is not None and entry.status.fence == fence and entry.status.state.is_leased


def _any_session(self: Leases, task_id: Any, fence: Any, session: Any) -> Any:
    entry = self._step.tasks.get(task_id)
    return entry if entry is not None and entry.status.fence == fence else None


def _secure_for_all(self: endpoints.PushPullEndpoint, peer: Any, socket: Any) -> None:
    self.secure(socket)


_is_allowed = endpoints.RouterEndpoint._is_allowed


def _any_valid_key(self: endpoints.RouterEndpoint, peer: Any, frames: Any) -> bool:
    return _is_allowed(self, peer, frames) or peer in self._users


def _only_ask_to_stop(self: Lifecycle, entry: Any, *, now: float) -> None:
    self._end_attempt(entry, now=now, may_still_run=True)


_retry_or_die = Lifecycle._retry_or_die


def _never_die(self: Lifecycle, entry: Any, status: Any, **more: Any) -> None:
    _retry_or_die(self, entry, status, **(more | {"spent": False}))


_crash = Lifecycle.crash


def _charge_every_task(self: Lifecycle, entry: Any, *, alone: bool, **more: Any) -> None:
    _crash(self, entry, alone=True, **more)


_change = TaskTable.change


def _count_endings_twice(self: TaskTable, entry: Any, status: Any) -> None:
    _change(self, entry, status)
    if status.state is TaskState.SUCCEEDED:
        self.counts[status.queue].ended[TaskState.SUCCEEDED] += 1


def _strict_priority(self: PendingTasks, waiting: Any) -> float:
    return float(waiting.rank - 1e9 * waiting.request.priority)


def _last_comes_first(self: PendingTasks, waiting: Any) -> float:
    return -float(waiting.rank)


_drop = Membership.drop


def _end_everything(self: Membership, peer: Any, now: float, *, gone: bool) -> None:
    is_client = peer in self.sessions.clients
    _drop(self, peer, now, gone=gone)
    if gone and is_client:
        for entry in [entry for entry in self._tasks if not entry.status.state.is_final]:
            self._life.cancel(entry, now=now)


def _forget_the_leased(self: Lifecycle, entry: Any, *, now: float) -> None:
    self.step.tasks.add(entry)
    if not entry.status.state.is_final and not entry.status.state.is_leased:
        self.scheduler.add(entry.waiting(), now=now)


def _forgive_nothing(self: Lifecycle, entry: Any, *, now: float) -> None:
    self.step.set_timers(entry, entry.timers | {"exclusion": now + 1e12})


def _lease_alone(self: StepBuilder, entry: Any, timers: Any) -> None:
    _replace_timers(self, entry, timers | {"run": 1e12} if "run" in timers else timers)


_replace_timers = StepBuilder._replace_timers


def _push_alone(self: Deadlines[Any], key: Any, when: float) -> None:
    self._count += 1
    self._live[key] = entry = (when, self._count, key)
    heappush(self._heap, entry)


def _wall_time(self: BrokerClock) -> float:
    self._now = self._monotonic()
    return self._now


def _in_any_order(
    task_id: Any, direction: Any, names: Sequence[str], delivered: Sequence[Any]
) -> list[Any]:
    keys = [PayloadKey(task_id, direction, name) for name in names]
    return list(zip(keys, reversed(delivered), strict=True))


def _open_pipes_once(self: WorkerConnection, *ports: int, incarnation: int) -> None:
    if not self.has_pipes:
        _OPEN_PIPES(self, *ports, incarnation=incarnation)


def _what_the_model_says(self: OriginalPixels, returned: Any) -> Any:
    return returned


def _mapped_unread(self: BlobFolder, digest: str, size: int) -> Any:
    return memoryview(self.path(digest).read_bytes())


def _viewed_and_given_back(self: IncomingArena, start: int, sizes: Any) -> Any:
    self._unused.append(start)
    return _VIEW(self, start, sizes)


RULES: Sequence[BrokenRule] = (
    BrokenRule(
        "an accepted task does not wait for anybody",
        "I1",
        Scheduler,
        "add",
        _nothing,
        "a_task_goes_from_submission_to_success",
    ),
    BrokenRule(
        "a client gives up a submission that is not answered",
        "I1",
        client_requests,
        "take_up",
        _empty,
        "a_submission_is_repeated_until_it_is_answered",
    ),
    BrokenRule(
        "a worker says once how an attempt ended",
        "I1",
        UnconfirmedEndings,
        "pop_due",
        _empty,
        "a_success_is_repeated_until_it_is_recorded_and_its_outputs_kept_so_long",
    ),
    BrokenRule(
        "a worker that is alive keeps an attempt for ever",
        "I1",
        StepBuilder,
        "_replace_timers",
        _lease_alone,
        "an_attempt_that_its_worker_never_begins_has_a_limit",
    ),
    BrokenRule(
        "a task waits for ever for the worker that did not fail it",
        "I1",
        Lifecycle,
        "forgive",
        _forgive_nothing,
        "a_task_waits_for_a_worker_that_did_not_fail_it_and_not_for_ever",
    ),
    BrokenRule(
        "messages leave before their records are durable",
        "I2",
        Outbox,
        "release",
        _all_at_once,
        "a_message_without_records_of_its_own_waits_for_those_before_it",
    ),
    BrokenRule(
        "a late result overwrites an ending",
        "I3",
        Leases,
        "current",
        _ended_is_not_leased,
        "a_result_that_comes_twice_is_recorded_once",
    ),
    BrokenRule(
        "a client reports every ending it hears",
        "I4",
        ClientMachine,
        "_finished",
        _every_ending,
        "a_second_ending_is_confirmed_and_not_reported",
    ),
    BrokenRule(
        "any fence is good enough",
        "I5",
        Leases,
        "current",
        _any_fence,
        "an_answer_with_an_old_fence_changes_nothing",
    ),
    BrokenRule(
        "a worker runs again what it holds or has ended",
        "I5",
        UnconfirmedEndings,
        "is_over",
        _no,
        "duplicates_of_held_and_of_ended_assignments_change_nothing",
    ),
    BrokenRule(
        "every attempt has the same number",
        "I6",
        TaskStatus,
        "changed",
        _same_attempt,
        "fences_of_one_task_grow",
    ),
    BrokenRule(
        "a cancelled task is asked to stop, and goes on",
        "I7",
        Lifecycle,
        "cancel",
        _only_ask_to_stop,
        "a_running_task_is_cancelled_and_its_worker_told",
    ),
    BrokenRule(
        "a worker reports what it was told to abandon",
        "I7",
        Answers,
        "hand_back",
        _empty,
        "a_running_attempt_is_asked_first_and_its_late_result_dropped",
    ),
    BrokenRule(
        "no task is ever dead",
        "I8",
        Lifecycle,
        "_retry_or_die",
        _never_die,
        "three_confirmed_crashes_of_its_own_make_a_task_dead",
    ),
    BrokenRule(
        "a way back into the queue has no end",
        "I8",
        Lifecycle,
        "_retry_or_die",
        _never_die,
        "no_way_back_into_the_queue_is_endless",
    ),
    BrokenRule(
        "a neighbour of a crash is charged",
        "I9",
        Lifecycle,
        "crash",
        _charge_every_task,
        "a_neighbour_of_a_crash_is_charged_nothing_and_runs_alone_next_time",
    ),
    BrokenRule(
        "a process is blamed on what it was given and never began",
        "I9",
        batches,
        "PUT_BACKS",
        0,
        "what_was_given_to_a_host_that_never_began_it_is_run_by_the_next",
    ),
    BrokenRule(
        "a host does not note what it begins",
        "I8",
        BatchMark,
        "set",
        _nothing,
        "a_killed_worker_leaves_what_its_host_was_at_to_its_successor",
    ),
    BrokenRule(
        "a worker keeps the pipes of a broker that is dead",
        "I1",
        WorkerConnection,
        "open_pipes",
        _open_pipes_once,
        "pipes_of_another_incarnation_replace_those_of_the_one_before",
    ),
    BrokenRule(
        "a worker waits for ever for a process that was killed and does not end",
        "I1",
        HostLife,
        "does_not_end",
        _no,
        "a_host_that_does_not_end_though_it_was_killed_keeps_no_task_waiting",
    ),
    BrokenRule(
        "a task's new place in line is taken for its old one",
        "I19",
        RankedTasks,
        "__contains__",
        lambda self, task: task.id in self._members,
        "a_task_that_waits_again_while_its_lost_attempt_holds_a_worker_is_let_in_by_its_end",
    ),
    BrokenRule(
        "successes are counted twice",
        "I10",
        TaskTable,
        "change",
        _count_endings_twice,
        "statistics_balance",
    ),
    BrokenRule(
        "a busy worker gets more than its credit",
        "I11",
        Worker,
        "may_hold_more",
        _yes,
        "short_tasks_are_sent_early_to_a_busy_worker_and_long_ones_are_not",
    ),
    BrokenRule(
        "a worker in zombies counts as free at once",
        "I11",
        ZombieAttempts,
        "enter",
        lambda self, task_id, attempt, session, *, now: self._scheduler.released(
            session, task_id, ran=None, now=now
        ),
        "the_worker_is_free_again_only_when_it_has_stopped",
    ),
    BrokenRule(
        "short tasks are sent early before a suspect whose turn has come",
        "I12",
        Decisions,
        "_suspect_before",
        _no,
        "a_suspect_runs_alone_on_an_idle_worker_which_is_kept_free_when_its_turn_comes",
    ),
    BrokenRule(
        "a level of priority is worth more than any wait",
        "I12",
        PendingTasks,
        "_rank",
        _strict_priority,
        "a_level_of_priority_outweighs_a_minute_and_no_more",
    ),
    BrokenRule(
        "who came last goes first",
        "I13",
        PendingTasks,
        "_rank",
        _last_comes_first,
        "within_a_level_and_model_tasks_start_in_order_of_arrival",
    ),
    BrokenRule(
        "a tenant may fill the line",
        "I13",
        TenantWindow,
        "enter",
        lambda self, task: (True, None),
        "a_tenant_that_dumps_tasks_leaves_room_for_others",
    ),
    BrokenRule(
        "results that clients have stay though the disk is full",
        "I14",
        Retention,
        "purge_confirmed",
        _nothing,
        "results_that_their_clients_have_make_room_while_the_disk_is_full",
    ),
    BrokenRule(
        "results that clients have are kept whatever they weigh",
        "I14",
        Retention,
        "add_spent",
        _nothing,
        "results_that_clients_have_go_early_when_they_fill_the_memory",
    ),
    BrokenRule(
        "payloads that are durable stay in memory",
        "I14",
        payload_cache.PayloadCache,
        "evict",
        _nothing,
        "only_what_is_durable_elsewhere_leaves_memory_the_longest_unused_first",
    ),
    BrokenRule(
        "deadlines that were met are remembered",
        "I14",
        Deadlines,
        "_push",
        _push_alone,
        "deadlines_that_were_met_long_before_leave_nothing_behind",
    ),
    BrokenRule(
        "a message may be as large as it likes",
        "I14",
        _Codec,
        "refuse_size",
        _nothing,
        "a_body_above_its_limit_is_refused_before_it_is_read",
    ),
    BrokenRule(
        "a message may have as many frames as it likes",
        "I14",
        MultipartReader,
        "receive",
        lambda self: self._socket.recv_multipart(copy=False),
        "a_message_of_too_many_frames_is_cut_in_several_turns",
    ),
    BrokenRule(
        "who sent a message of too many frames may send more",
        "I14",
        ConnectionWatch,
        "_cut_offender",
        _nothing,
        "the_sender_of_a_message_is_cut_by_it",
    ),
    BrokenRule(
        "no limit refuses",
        "I15",
        Admission,
        "_exceeds_limits",
        _nothing,
        "every_limit_refuses_in_words",
    ),
    BrokenRule(
        "the broker may hold as much as there is",
        "I15",
        Admission,
        "_exceeds_room",
        _nothing,
        "every_limit_refuses_in_words",
    ),
    BrokenRule(
        "one task's options become another's that Python finds equal",
        "I19",
        Column,
        "_is_one",
        lambda self, values: values.count(values[0]) == len(values),
        "a_value_that_python_takes_for_equal_to_anothers_stays_what_it_was",
    ),
    BrokenRule(
        "no queue is ever full",
        "I15",
        Admission,
        "_is_full",
        _no,
        "a_full_queue_refuses_and_says_how_long_to_wait",
    ),
    BrokenRule(
        "a lost client takes other clients' tasks along",
        "I16",
        Membership,
        "drop",
        _end_everything,
        "losing_a_process_changes_no_other_tasks_outcome",
    ),
    BrokenRule(
        "a restart forgets who was at work",
        "I17",
        Lifecycle,
        "restore",
        _forget_the_leased,
        "an_attempt_nobody_claims_after_a_restart_is_tried_again",
    ),
    BrokenRule(
        "a store that went back in time is opened all the same",
        "I17",
        SqliteStore,
        "_compare",
        _empty,
        "a_database_that_went_back_in_time_is_noticed",
    ),
    BrokenRule(
        "two brokers may use one journal",
        "I17",
        StoreFolder,
        "open",
        classmethod(lambda cls, path: cls(path, 0, 0)),
        "a_second_store_on_the_same_folder_is_refused",
    ),
    BrokenRule(
        "broker time is whatever the clock shows",
        "I17",
        BrokerClock,
        "now",
        _wall_time,
        "a_pause_of_the_process_takes_no_broker_time",
    ),
    BrokenRule(
        "a peer of any version is welcome",
        "I18",
        membership,
        "version_objection",
        lambda *arguments, **more: "",
        "a_peer_that_speaks_another_protocol_is_refused_in_words",
    ),
    BrokenRule(
        "bytes of another protocol are taken for ours",
        "I18",
        frames,
        "MAGIC",
        b"XX",
        "the_messages_in_bytes_are_what_they_are_said_to_be",
    ),
    BrokenRule(
        "bytes too few for a header are read all the same",
        "I19",
        frames,
        "HEADER_BYTES",
        0,
        "garbage_is_refused",
    ),
    BrokenRule(
        "a receiver never says that it is ready for more",
        "I19",
        Link,
        "_owe_a_credit",
        _nothing,
        "pieces_of_no_transfer_are_dropped_and_credited",
    ),
    BrokenRule(
        "strangers may waste as much time as they like",
        "I19",
        ConnectionThrottle,
        "charge",
        _nothing,
        "time_that_strangers_waste_is_waited_for_by_those_who_come",
    ),
    BrokenRule(
        "sending goes on until a socket is full",
        "I19",
        sender.Sender,
        "_look_at_clock",
        _nothing,
        "sending_ends_when_its_time_is_up_and_goes_on_with_those_that_had_no_turn",
    ),
    BrokenRule(
        "inputs are not compared with their digests",
        "I20",
        image_payloads,
        "check_payload",
        _nothing,
        "bytes_that_do_not_match_their_digest_are_refused",
    ),
    BrokenRule(
        "a payload file is read without a look at its content",
        "I20",
        BlobFolder,
        "read",
        _mapped_unread,
        "a_changed_payload_file_is_found_when_it_is_read",
    ),
    BrokenRule(
        "a row is believed whatever its checksum",
        "I20",
        database,
        "checked_row",
        _believed,
        "flipped_bits_anywhere_in_the_database_never_give_wrong_data",
    ),
    BrokenRule(
        "no one asks what a free worker could take",
        "I21",
        Decisions,
        "ask_about",
        _nothing,
        "a_worker_that_becomes_free_takes_a_parked_task_rather_than_idle",
    ),
    BrokenRule(
        "a worker idles for the sake of a tenant's window",
        "I21",
        PendingTasks,
        "unpark_for",
        _no,
        "a_worker_that_becomes_free_takes_a_parked_task_rather_than_idle",
    ),
    BrokenRule(
        "payloads are stored under each other's names",
        "I22",
        payload_cache,
        "_keyed",
        _in_any_order,
        "inputs_are_kept_with_the_acceptance_they_came_with",
    ),
    BrokenRule(
        "payload files are named by their digests alone",
        "I22",
        blobs,
        "secrets",
        SimpleNamespace(token_hex=lambda count: "ab" * count),
        "payloads_with_equal_digests_do_not_share_a_file",
    ),
    BrokenRule(
        "a range of an arena is given back while it can still be read",
        "I22",
        IncomingArena,
        "view",
        _viewed_and_given_back,
        "a_range_is_used_again_only_when_the_last_view_of_it_is_gone",
    ),
    BrokenRule(
        "a model writes into the arena itself",
        "I22",
        mmap,
        "MAP_PRIVATE",
        mmap.MAP_SHARED,
        "what_a_model_writes_into_its_input_reaches_no_other_view",
    ),
    BrokenRule(
        "an assignment carries no inputs",
        "I22",
        sender,
        "payload_keys",
        _empty,
        "messages_to_one_peer_keep_their_order_behind_a_payload_that_is_read_back",
    ),
    BrokenRule(
        "a model paints where it likes",
        "I23",
        OriginalPixels,
        "with_filled",
        _what_the_model_says,
        "only_inpainting_is_held_to_the_mask",
    ),
    BrokenRule(
        "another key sees every task",
        "I24",
        Credentials,
        "sees",
        _yes,
        "another_key_is_told_of_a_task_what_it_is_told_of_one_that_there_is_not",
    ),
    BrokenRule(
        "whoever fetches a result lets it go",
        "I24",
        Credentials,
        "owns",
        _yes,
        "a_result_that_another_fetches_is_kept_as_promised",
    ),
    BrokenRule(
        "a result goes when one of its owner's clients has it",
        "I24",
        Membership,
        "_awaits",
        _no,
        "a_result_is_delivered_when_every_connected_client_of_its_owner_has_it",
    ),
    BrokenRule(
        "the tasks of a removed queue go wherever they fit",
        "I24",
        reconfiguration,
        "refuge",
        _anywhere,
        "a_task_of_a_removed_queue_goes_where_its_owner_may_be_or_ends_with_the_reason",
    ),
    BrokenRule(
        "any id may be taken",
        "I24",
        Credentials,
        "may_use",
        _yes,
        "an_id_made_of_an_idempotency_key_is_for_its_owner_alone",
    ),
    BrokenRule(
        "a task without owner is given to whoever knows its id",
        "I24",
        client_handler,
        "_is_same",
        _yes,
        "a_task_that_has_no_owner_becomes_that_of_who_submits_it_again",
    ),
    BrokenRule(
        "whoever knows name and fence may claim a lease",
        "I24",
        Leases,
        "may_claim",
        _any_claim,
        "a_lease_is_not_claimed_by_another_key_in_the_name_of_its_worker",
    ),
    BrokenRule(
        "whoever knows the fence may answer",
        "I24",
        Leases,
        "current",
        _any_session,
        "a_result_from_another_worker_changes_nothing",
    ),
    BrokenRule(
        "a worker's pipe opens for any worker's key",
        "I24",
        endpoints.PushPullEndpoint,
        "_secure_for",
        _secure_for_all,
        "the_pipe_of_a_worker_opens_for_its_key_alone",
    ),
    BrokenRule(
        "a result in the shared pipe is that of the connection it names",
        "I24",
        endpoints.RouterEndpoint,
        "_is_allowed",
        _any_valid_key,
        "a_result_in_the_shared_pipe_counts_only_with_the_key_of_its_connection",
    ),
    BrokenRule(
        "a worker replaces whoever it names",
        "I24",
        worker_handler,
        "_is_same",
        _yes,
        "a_worker_replaces_nobody_but_itself",
    ),
    BrokenRule(
        "a key's tasks claim what they like",
        "I24",
        Admission,
        "exceeds_key",
        _nothing,
        "a_key_may_not_claim_more_priority_than_it_allows",
    ),
    BrokenRule(
        "a key has no quota",
        "I24",
        Admission,
        "_exceeds_quota",
        _nothing,
        "a_key_has_no_more_unfinished_tasks_than_its_quota",
    ),
)
