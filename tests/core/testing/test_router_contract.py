"""The conformance tests notice a router that breaks the rule they are named after."""

import itertools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import pytest
from attrs import frozen

from paintmq.model import NoOptions
from paintmq.plugin.manager import PluginManager
from paintmq.routing import BacklogView, BoardView, QueueView, Router, WorkerView
from paintmq.testing.plain_router import PlainRouter
from paintmq.testing.router_contract import RouterContract


@frozen
class Undocumented:
    patience: float = 1.0


def contract_of(kind: type[Router], parameters_class: type = NoOptions) -> RouterContract:
    """Return the contract of a router that is handed in, not imported."""

    class Tried(RouterContract):
        __test__ = False
        router: ClassVar[str] = "tried"

        def make_router(self) -> Router:
            return kind()

        @classmethod
        def plugins(cls) -> PluginManager:
            module = ModuleType("tried")
            manager = PluginManager()
            module.__dict__["paintmq_register_routers"] = lambda register: register(
                "tried", lambda parameters: kind(), parameters_class
            )
            manager.register(module, "tried")
            return manager

    return Tried()


def test_a_sound_router_passes() -> None:
    contract = contract_of(PlainRouter)

    contract.test_every_task_is_started_whatever_comes("bursts", "few")
    contract.test_the_same_traffic_leads_to_the_same_decisions()
    contract.test_a_lone_task_is_not_left_waiting_by_idle_workers()
    contract.test_the_lowest_priority_gets_its_turn()
    contract.test_a_queue_is_chosen_among_those_offered()
    contract.test_a_waiting_task_is_explained_in_plain_data()
    contract.test_taking_over_in_full_work_loses_no_task()


def test_a_router_that_starts_nothing_is_noticed() -> None:
    class Refuses(PlainRouter):
        def score(
            self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> Any:
            return None

    with pytest.raises(RuntimeError, match="tasks wait for ever"):
        contract_of(Refuses).test_every_task_is_started_whatever_comes("steady", "few")


def test_a_router_that_raises_is_noticed() -> None:
    class Raises(PlainRouter):
        def score(
            self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> float:
            raise KeyError(backlog.model)

    with pytest.raises(AssertionError, match=r"KeyError|model-"):
        contract_of(Raises).test_every_task_is_started_whatever_comes("steady", "few")


def test_decisions_that_depend_on_more_than_what_is_shown_are_noticed() -> None:
    calls = itertools.count()

    class Moody(PlainRouter):
        def score(
            self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> float:
            return float(next(calls) * 7919 % 101)

    with pytest.raises(AssertionError):
        contract_of(Moody).test_the_same_traffic_leads_to_the_same_decisions()


def test_a_router_that_dawdles_is_noticed() -> None:
    class Dawdles(PlainRouter):
        recheck_after = 1.0

        def score(
            self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> Any:
            return 1.0 if now - backlog.first()[0].rank > 30 else None

    with pytest.raises(AssertionError, match="longer than its model takes to load"):
        contract_of(Dawdles).test_a_lone_task_is_not_left_waiting_by_idle_workers()


def test_a_queue_that_was_not_offered_is_noticed() -> None:
    class Strays(PlainRouter):
        def choose_queue(self, queues: Sequence[QueueView], *, now: float) -> str:
            return "gpu-high"

    with pytest.raises(AssertionError):
        contract_of(Strays).test_a_queue_is_chosen_among_those_offered()


def test_a_router_that_forgets_the_lowly_is_noticed() -> None:
    class Strict(PlainRouter):
        def score(
            self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> float:
            return float(backlog.first()[0].priority)

    with pytest.raises(AssertionError):
        contract_of(Strict).test_the_lowest_priority_gets_its_turn()


def test_a_router_that_does_not_get_on_with_what_another_left_is_noticed() -> None:
    made = itertools.count()

    class Second(PlainRouter):
        def __init__(self) -> None:
            self.is_first = next(made) == 0

        def score(
            self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> Any:
            return 1.0 if self.is_first else None

    with pytest.raises((AssertionError, RuntimeError)):
        contract_of(Second).test_taking_over_in_full_work_loses_no_task()


def test_one_router_for_all_brokers_is_noticed() -> None:
    only = PlainRouter()
    contract = contract_of(PlainRouter)
    shared = type("Shared", (type(contract),), {"make_router": lambda self: only})()

    contract.test_each_router_is_a_fresh_one()
    with pytest.raises(AssertionError):
        shared.test_each_router_is_a_fresh_one()


def test_a_parameter_that_swallows_what_is_unknown_is_noticed() -> None:
    @frozen
    class Swallows:
        no_such_parameter: int = 1

    contract_of(PlainRouter).test_an_unknown_parameter_is_refused_by_name()
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        contract_of(PlainRouter, Swallows).test_an_unknown_parameter_is_refused_by_name()


def test_a_parameter_without_help_is_noticed() -> None:
    with pytest.raises(AssertionError, match="patience"):
        contract_of(PlainRouter, Undocumented).test_every_parameter_is_documented()


def test_an_explanation_that_is_no_plain_data_is_noticed() -> None:
    class Mumbles(PlainRouter):
        def explain(
            self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> Mapping[str, Any]:
            return {"router": self}

    with pytest.raises(AssertionError, match="Mumbles"):
        contract_of(Mumbles).test_a_waiting_task_is_explained_in_plain_data()
