"""The broker as a thread or a process: what is opened and closed, and in which order."""

import itertools
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, cast

from attrs import evolve, frozen

from paintmq.broker.accounting.report import without_names
from paintmq.broker.connections.access import AccessControl
from paintmq.broker.connections.endpoints import (
    RouterEndpoint,
    check_exposure,
    client_endpoint,
    queue_endpoint,
)
from paintmq.broker.connections.listeners import Listeners
from paintmq.broker.machine import BrokerMachine
from paintmq.broker.machine.queues import unknown_models
from paintmq.broker.recording.input_log import InputLog
from paintmq.broker.records import Recovered
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.broker.shell.bookkeeping import Bookkeeping
from paintmq.broker.shell.clock import BrokerClock
from paintmq.broker.shell.live_settings import LiveSettings
from paintmq.broker.shell.loop import BrokerLoop
from paintmq.broker.shell.observed import Observed
from paintmq.broker.shell.plugin_events import ObserverThread, start_observers
from paintmq.broker.shell.queue_ports import LAST_WORDS, QueuePorts
from paintmq.broker.shell.recovery_notes import log_recovery
from paintmq.broker.shell.server_control import (
    ForReader,
    Subject,
    back_up,
    describe_differences,
    describe_endpoints,
    describe_journal,
    describe_models,
    describe_queues,
    describe_statistics,
    describe_version,
    tell_story,
)
from paintmq.broker.shell.standby import take_lead
from paintmq.broker.shell.stop_report import StopReport, unfinished
from paintmq.broker.shell.turn_watch import BrokerStuckError, TurnWatch
from paintmq.broker.stores import make_store, statistics_path
from paintmq.broker.stores.journal import Journal
from paintmq.config import Config
from paintmq.errors import LeadLostError, PaintMQError, StoreError
from paintmq.identifiers import new_incarnation
from paintmq.process import file_limit
from paintmq.settings.differences import Difference
from paintmq.settings.queue_changes import Changes, changed
from paintmq.shared_memory.broker_arenas import Arenas
from paintmq.statistics import BrokerStatistics, ShellStatistics
from paintmq.task import Json
from paintmq.transport.sockets import Context, new_context
from paintmq.transport.wakeup import Wakeup

if TYPE_CHECKING:
    from paintmq.plugin.manager import PluginManager
    from paintmq.routing import Router

__all__ = ["BrokerServer", "StopReport"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_numbers = itertools.count(1)
_ORDER_SECONDS = 60.0
"""For the broker's thread to do what another one asks of it."""
_PARTING = 0.2
"""Seconds for peers to read them: a DEALER with IMMEDIATE drops what it has not yet read when the
connection closes (seen with libzmq 4.3.5: 10 of 100 messages sent just before closing)."""


@frozen(kw_only=True)
class _Opened:
    """What a running broker holds."""

    context: Context
    owns_context: bool
    endpoints: list[RouterEndpoint]
    wakeup: Wakeup
    journal: Journal
    machine: BrokerMachine
    loop: BrokerLoop
    ports: QueuePorts
    watch: TurnWatch


class BrokerServer:
    """A broker. ``start`` and ``stop`` may be called from any thread, one at a time; ``run`` is
    both in the foreground. It can be started again after it was stopped.
    """

    client_endpoint: str
    """Where clients connect, such as ``tcp://127.0.0.1:5550``. Set by ``start``."""
    inproc_endpoint: str
    """Where a client with the same ZeroMQ context connects. Set by ``start``."""
    queue_endpoints: Mapping[str, str]
    """Where workers connect, by queue. Set by ``start``."""
    journal: str
    """Where the journal is and what was in it, for a human reader. Set by ``start``."""

    def __init__(
        self,
        config: Config,
        plugins: "PluginManager",
        *,
        context: "Context | None" = None,
        accept_data_loss: bool = False,
        reread: Callable[[], Config] | None = None,
        standby: Callable[[float], bool] | None = None,
    ) -> None:
        """Take the settings; nothing is opened yet.

        Args:
            config: the settings.
            plugins: models, routers, stores and observers.
            context: a ZeroMQ context to share; None: a new one, closed with the broker.
            accept_data_loss: open a journal that is known to have lost records.
            reread: returns the current settings, for ``reload``.
            standby: waits that many seconds and returns whether to go on. With it, ``start`` waits
                for as long as another broker leads on the same journal.
        """
        self._config = config
        self._plugins = plugins
        self._context = context
        self._accept_data_loss = accept_data_loss
        self._reread = reread
        self._standby = standby
        self._live = LiveSettings(config)
        self._orders: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = (
            queue.SimpleQueue()
        )
        self._loop_thread = 0
        self._opened: _Opened | None = None
        self._input_log: InputLog | None = None
        self._thread: threading.Thread | None = None
        self._router = config.router
        self._followers: list[Callable[[], None]] = []
        self._access: AccessControl | None = None
        self._observers: ObserverThread | None = None
        self._books: Bookkeeping | None = None
        self._stop_asked = threading.Event()
        self._ended = threading.Event()
        """Set when the thread has ended, or will not."""
        self._grace: float | None = None
        self._report = StopReport()
        self.failure: BaseException | None = None
        """What ended the broker's thread, if it was not ``stop``."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(grace=None if error is None else 0.0)

    @property
    def is_running(self) -> bool:
        return self._opened is not None and self.failure is None

    @property
    def is_stuck(self) -> bool:
        """Whether the broker's thread does not return from a plugin's function, and holds its
        ports until the process ends.
        """
        return isinstance(self.failure, BrokerStuckError)

    def end_context(self, context: Context) -> None:
        """Terminate the ZeroMQ context of a broker that was stopped, unless it is stuck in it."""
        if not self.is_stuck:
            context.term()

    def start(self) -> None:
        """Listen, and serve in a thread of its own until ``stop``.

        Raises:
            PortInUseError: a port is taken; whatever was bound before is free again.
            StoreError: the journal cannot be used, or another broker leads on it;
                StandbyEndedError: it was told to stop before it led.
            ConfigError: an address cannot be bound, or not without keys.
        """
        self._open()
        # A program that ends without stopping its broker must still end.
        self._thread = threading.Thread(
            target=self._serve_logged, name="paintmq-broker", daemon=True
        )
        self._thread.start()

    def run(self, started: Callable[[], None] = lambda: None) -> StopReport:
        """Listen, call ``started``, and serve until ``request_stop`` is called, from another thread
        or a signal handler; return what was unfinished.

        Raises:
            PortInUseError, StoreError, ConfigError: as ``start``, or when the journal fails later.
        """
        self._open()
        started()
        self._serve()
        return self._report

    def request_stop(self, *, grace: float | None = None) -> None:
        """Ask the broker to stop, without waiting. Safe in a signal handler."""
        self._grace = grace
        self._stop_asked.set()
        opened = self._opened
        if opened is not None:
            opened.wakeup.set()

    def stop(self, *, grace: float | None = None) -> StopReport:
        """Stop a started broker; return what was unfinished. Harmless to repeat.

        No new task is accepted or given to a worker; running ones may finish within ``grace``
        seconds (None: the configured ``timers.drain_grace``).

        Raises:
            PaintMQError: the broker had stopped by itself; the cause is its ``__cause__``.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return self._report
        self.request_stop(grace=grace)
        self._ended.wait()
        if not self.is_stuck:
            thread.join()
        if self.failure is not None:
            raise PaintMQError(
                f"the broker had stopped by itself: {self.failure}"
            ) from self.failure
        return self._report

    @property
    def settings(self) -> Config:
        """The settings in use, with what operators changed."""
        return self._live.running

    @property
    def router_name(self) -> str:
        return self._router.name

    def reload(self, *, dry_run: bool = False) -> tuple[Difference, ...]:
        """Read the settings and the keys again and use what works at once; return what differs from
        what was in use, with the reason where it takes effect at the next start. Safe in any
        thread.

        Args:
            dry_run: change nothing.

        Raises:
            ConfigError: something is wrong with them; everything stays as it was.
            PortInUseError: a new queue's port is taken; everything stays as it was.
        """
        settings = self._reread() if self._reread is not None else self._live.file
        router = self._plugins.make_router(settings.router)
        if self._access is not None and not dry_run:
            self._access.reload()
        return self._in_loop(
            lambda: self._adopt(settings, self._live.changes, router, dry_run=dry_run)
        )

    def change_queue(
        self,
        action: str,
        name: str,
        settings: Mapping[str, Json] = MappingProxyType({}),
        *,
        dry_run: bool = False,
    ) -> tuple[Difference, ...]:
        """Add, change or remove a queue, or pause, resume or drain it; return what differs then.

        It is kept in the journal and holds after the next start, whatever the settings say. Tasks
        that wait in a queue that is removed go to one that can hold them, or end as DEAD. Safe in
        any thread.

        Args:
            action: ``add``, ``set``, ``pause``, ``resume``, ``drain``, ``remove``, or ``reset`` to
                what the settings say.
            name: of the queue.
            settings: keys of ``QueueConfig``, for ``add`` and ``set``.
            dry_run: change nothing.

        Raises:
            ConfigError: it cannot be; everything stays as it was.
            PortInUseError: its port is taken; everything stays as it was.
        """

        def change() -> tuple[Difference, ...]:
            live = self._live
            changes = changed(live.changes, live.file, action, name, settings)
            return self._adopt(live.file, changes, None, dry_run=dry_run)

        return self._in_loop(change)

    def follow_queues(self, follower: Callable[[], None]) -> None:
        """Call this, in the broker's thread, whenever queues were added or removed."""
        self._followers.append(follower)

    def _in_loop(self, work: Callable[[], _T]) -> _T:
        """Do something in the broker's thread, and wait for it."""
        opened = self._opened
        if opened is None or threading.get_ident() == self._loop_thread:
            return work()
        done: Future[object] = Future()
        self._orders.put((work, done))
        opened.wakeup.set()
        try:
            return cast("_T", done.result(_ORDER_SECONDS))
        except TimeoutError as error:
            raise PaintMQError(
                "the broker does not come to it: it is stopping, or stuck"
            ) from error

    def _adopt(
        self, file: Config, changes: Changes, router: "Router | None", *, dry_run: bool
    ) -> tuple[Difference, ...]:
        plan = self._live.plan(file, changes)
        opened = self._opened
        if dry_run or opened is None:
            return plan.differences
        bound = opened.ports.bind_added(plan.running)  # the last thing that can fail
        new = self._live.take(plan)
        opened.ports.use(bound)
        any_gone = opened.ports.retire_all_but(plan.running)
        self.queue_endpoints = opened.ports.addresses
        if router is not None:
            self._router = plan.running.router
            opened.loop.replace_router(router, self._router)
        opened.loop.reconfigure(new)
        if bound or any_gone:
            for follower in self._followers:
                follower()
        return plan.differences

    # ---- opening and closing -------------------------------------------------------------------

    def _open(self) -> None:
        if self._opened is not None:
            raise RuntimeError("this broker is running already")
        config = self._config
        check_exposure(config.broker)
        self._stop_asked.clear()
        self._ended.clear()
        self._grace, self.failure, self._report = None, None, StopReport()
        context = self._context if self._context is not None else new_context()
        endpoints: list[RouterEndpoint] = []
        try:
            store = make_store(
                config.broker,
                accept_data_loss=self._accept_data_loss,
                factories=self._plugins.stores,
            )
            try:
                take_lead(store, config.broker, self._standby)
            except BaseException:
                store.close()
                raise
        except BaseException:
            if self._context is None:
                context.term()
            raise
        wakeup = Wakeup()
        journal = Journal(store)
        watch = TurnWatch(config.plugins.call_limit, partial(self._got_stuck, journal))
        watch.start()
        self._books = None
        try:
            statistics = ShellStatistics()
            self._access = AccessControl(config.broker, config.queues, statistics)
            self._access.start(context)
            self._listen(context, endpoints, self._access)
            if config.monitoring.enabled:
                self._books = Bookkeeping(
                    journal, statistics_path(config.broker), config.monitoring.history_interval
                )
                self._books.prepare()
            recovered = journal.open(wakeup.set)
            self._live = LiveSettings(config)
            self._live.recover(recovered.changes)
            self._listen_as_changed(context, endpoints, self._access)
            self.journal = describe_journal(config.broker, recovered)
            listeners = Listeners(endpoints, self._access.gate, statistics)
            machine, loop = self._assemble(journal, recovered, listeners, wakeup, statistics, watch)
            loop.restore(recovered)
            if self._live.changes:
                loop.reconfigure(self._live.reconfiguration())
        except BaseException:
            watch.stop()
            self._close(context, endpoints, wakeup, journal)
            raise
        self._opened = _Opened(
            context=context,
            owns_context=self._context is None,
            endpoints=endpoints,
            wakeup=wakeup,
            journal=journal,
            machine=machine,
            loop=loop,
            ports=QueuePorts(context, self._access, loop, endpoints),
            watch=watch,
        )

    def _listen(
        self, context: Context, endpoints: list[RouterEndpoint], access: AccessControl
    ) -> None:
        self.inproc_endpoint = f"inproc://paintmq-broker-{next(_numbers)}"
        broker = self._config.broker
        endpoints.append(client_endpoint(context, broker, self.inproc_endpoint, access))
        self.client_endpoint = endpoints[0].address
        for name, config in self._config.queues.items():
            endpoints.append(queue_endpoint(context, broker, name, config, access))
        self.queue_endpoints = {endpoint.name: endpoint.address for endpoint in endpoints[1:]}

    def _listen_as_changed(
        self, context: Context, endpoints: list[RouterEndpoint], access: AccessControl
    ) -> None:
        """Listen as operators left it: the journal, which tells, is opened after the ports."""
        running, file = self._live.running, self._live.file
        if running is file:
            return
        for endpoint in list(endpoints[1:]):
            if running.queues.get(endpoint.name) != file.queues[endpoint.name]:
                endpoints.remove(endpoint)
                endpoint.close()
                endpoint.wait_until_free(at_most=LAST_WORDS)
        kept = {endpoint.name for endpoint in endpoints[1:]}
        for name, wanted in running.queues.items():
            if name not in kept:
                endpoints.append(queue_endpoint(context, running.broker, name, wanted, access))
        self.queue_endpoints = {endpoint.name: endpoint.address for endpoint in endpoints[1:]}

    def _assemble(
        self,
        journal: Journal,
        recovered: Recovered,
        listeners: Listeners,
        wakeup: Wakeup,
        statistics: ShellStatistics,
        watch: TurnWatch,
    ) -> tuple[BrokerMachine, BrokerLoop]:
        config, incarnation = self._live.running, new_incarnation()
        log_recovery(recovered)
        if config.broker.record:
            path = Path(config.broker.record)
            self._input_log = InputLog(
                path, config, incarnation=incarnation, models=self._plugins.catalog().specs
            )
        self._router = config.router
        catalog = self._plugins.catalog()
        for line in unknown_models(config.queues, catalog.specs):
            logger.warning("%s", line)
        clock = BrokerClock(not_before=recovered.last_time)
        rng = random.Random(incarnation)
        books = self._books
        if books is not None:
            books.start(recovered, now=clock.now())
        scheduler = Scheduler(
            self._plugins.make_router(config.router),
            tenant_window=config.limits.tenant_window,
            rng=rng,
            queue_devices={name: queue.device for name, queue in config.queues.items()},
            queue_weights={name: queue.weight for name, queue in config.queues.items()},
        )
        machine = BrokerMachine(
            incarnation=incarnation,
            catalog=catalog,
            scheduler=scheduler,
            queues=config.queues,
            timers=config.timers,
            limits=config.limits,
            admission=config.broker.admission,
            rng=rng,
            observe=None if books is None else books.ledger.waiting.append,
        )
        if books is not None:
            books.watch(machine)

        observed = Observed(machine, statistics)
        if books is not None:
            books.watch_nodes(lambda now: observed.nodes(now=now))

        def counted() -> BrokerStatistics:
            now = clock.now()
            known = (books or machine).statistics(now=now)
            return evolve(
                known,
                shell=statistics,
                loop=loop.turns.durations(),
                nodes=observed.nodes(now=now),
                log_lines=observed.lines,
            )

        subjects: dict[str, Subject] = {
            "endpoints": lambda _: describe_endpoints(
                self.client_endpoint,
                self.queue_endpoints,
                advertise=self.settings.broker.advertise,
                queues=self.settings.queues,
                incarnation=incarnation,
            ),
            "version": lambda _: describe_version(
                incarnation,
                config.broker.durability,
                self._plugins.describe_router(self._router),
            ),
            "models": lambda _: describe_models(catalog),
            "statistics": ForReader(
                lambda _, who: describe_statistics(
                    counted() if who.is_admin else without_names(counted())
                )
            ),
            "turns": lambda _: loop.turns.describe(),
            "shutdown": self._shutdown,
            "reload": self._reload,
            "queues": lambda _: self._describe_queues(),
            "change_queue": self._change_queue,
            "backup": partial(back_up, journal, config.broker),
            "story": partial(tell_story, journal),
            "logs": ForReader(
                lambda asked, who: {"incarnation": incarnation, **observed.logs(asked, who)}
            ),
        }
        if books is not None:
            subjects["history"] = ForReader(
                lambda asked, who: books.history(asked, who, now=clock.now())
            )
            subjects["events"] = ForReader(
                lambda asked, who: {
                    "incarnation": incarnation,
                    **books.events(asked, who, now=clock.now()).to_json(),
                }
            )
        self._observers = start_observers(self._plugins, statistics)
        if books is not None and self._observers is not None:
            self._observers.number_events()
            books.tell(self._observers)
        loop = BrokerLoop(
            machine=machine,
            journal=journal,
            clock=clock,
            listeners=listeners,
            subjects=subjects,
            wakeup=wakeup,
            timers=config.timers,
            limits=file_limit.limits_within(config),
            arenas=Arenas.make(enabled=config.transport.shared_memory),
            statistics=statistics,
            watch=watch,
            observed=observed,
            recorder=self._input_log,
            observers=() if self._observers is None else (self._observers,),
            duties=() if books is None else (books,),
        )
        return machine, loop

    def _shutdown(self, arguments: Mapping[str, Json]) -> Json:
        grace = arguments.get("grace")
        if grace is not None and not isinstance(grace, int | float):
            raise ValueError(f"grace = {grace!r} is no number of seconds")
        self.request_stop(grace=grace)
        return {"stopping": True}

    def _reload(self, arguments: Mapping[str, Json]) -> Json:
        found = self.reload(dry_run=bool(arguments.get("dry_run", False)))
        return {
            "router": self._router.name,
            "keys": self._access.keys if self._access else None,
            "changes": describe_differences(found),
        }

    def _change_queue(self, arguments: Mapping[str, Json]) -> Json:
        settings = arguments.get("settings") or {}
        match arguments:
            case {"action": str(action), "name": str(name)} if isinstance(settings, dict):
                dry_run = bool(arguments.get("dry_run", False))
                found = self.change_queue(action, name, settings, dry_run=dry_run)
                return {"changes": describe_differences(found)}
            case _:
                raise ValueError("change_queue wants an action, a name and a table of settings")

    def _describe_queues(self) -> Json:
        return describe_queues(self.settings.queues, self._live.changes, self.queue_endpoints)

    def _close(
        self,
        context: Context,
        endpoints: list[RouterEndpoint],
        wakeup: Wakeup,
        journal: Journal,
    ) -> None:
        """Release everything, whatever fails on the way.

        Raises:
            StoreError: the journal could not be completed.
        """
        durable = False
        try:
            journal.close()
            durable = True
        finally:
            if self._books is not None:
                self._books.close(durable=durable)
                self._books = None
            if self._opened is not None:
                self._opened.ports.close_retired()
            for endpoint in endpoints:
                endpoint.close(linger=LAST_WORDS)
            if self._observers is not None:
                self._observers.stop()
                self._observers = None
            if self._input_log is not None:
                self._input_log.close()
                self._input_log = None
            if self._access is not None:
                self._access.stop()
            wakeup.close()
            if self._context is None:
                context.term()
            for endpoint in endpoints:
                endpoint.wait_until_free(at_most=LAST_WORDS)

    # ---- the broker's thread -------------------------------------------------------------------

    def _serve_logged(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # kept, and raised again by stop()
            if not self.is_stuck:
                self.failure = error
                told = None if isinstance(error, LeadLostError) else error  # that is all of it
                logger.critical("the broker stopped by itself: %s", error, exc_info=told)
        finally:
            self._ended.set()

    def _got_stuck(self, journal: Journal, error: BrokerStuckError) -> None:
        """Count the broker as ended: its thread is in a plugin's function, and stays there.

        Should it return after all, it finds the journal closed, without which it says nothing.
        """
        self.failure = error
        self._stop_asked.set()
        try:
            journal.close()
        except StoreError as failed:
            logger.critical("the journal could not be completed: %s", failed)
        self._ended.set()

    def _serve(self) -> None:
        opened = self._opened
        assert opened is not None
        opened.watch.watch_me()
        try:
            self._loop_thread = threading.get_ident()
            while not self._stop_asked.is_set():
                opened.loop.run_once()
                self._carry_out_orders(opened)
            self._drain(opened)
            self._report = unfinished(opened.machine, kept=opened.journal.keeps_payloads)
        finally:
            try:
                self._close(opened.context, opened.endpoints, opened.wakeup, opened.journal)
            finally:
                opened.loop.stop_sharing()
                opened.watch.stop()
                self._opened = None

    def _carry_out_orders(self, opened: _Opened) -> None:
        """Do what other threads asked for, and close the ports of removed queues."""
        while not self._orders.empty():
            work, done = self._orders.get()
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 -- for whoever asked
                done.set_exception(error)
        opened.ports.close_due()

    def _drain(self, opened: _Opened) -> None:
        """Let running attempts finish, and send what is still to be sent."""
        opened.loop.drain()
        grace = self.settings.timers.drain_grace if self._grace is None else self._grace
        self._turn(opened, until=opened.machine.is_idle, at_most=grace)
        self._turn(opened, until=lambda: opened.loop.has_sent_everything, at_most=LAST_WORDS)
        self._turn(opened, until=lambda: opened.loop.has_no_peers, at_most=_PARTING)

    def _turn(self, opened: _Opened, *, until: Callable[[], bool], at_most: float) -> None:
        ends = time.monotonic() + at_most
        while not until() and (left := ends - time.monotonic()) > 0:
            opened.loop.run_once(max_wait=left)
