"""Rules that keep harm where it came from (I25), each broken on purpose."""

from math import inf
from typing import Any, NoReturn

from tests.mutants.rules import BrokenRule

from paintmq.broker.scheduling.guarded_router import GuardedRouter
from paintmq.broker.shell.containment import Containment
from paintmq.client import followed_task, in_flight, session
from paintmq.client.window import Place
from paintmq.gateway import request_body
from paintmq.plugin import answers, catalog
from paintmq.worker.agent import readable_messages


def _nothing(*arguments: Any, **more: Any) -> None:
    """Do nothing, instead of what should be done."""


def _as_it_comes(value: Any, *arguments: Any, **more: Any) -> Any:
    """Believe the value, whatever it is."""
    return value


def _raise(self: Any, error: BaseException, *arguments: Any, **more: Any) -> NoReturn:
    raise error


def _call_unguarded(callback: Any, task_id: Any) -> None:
    callback()


def _no_objection(*arguments: Any, **more: Any) -> str:
    return ""


CONTAINMENT_RULES: tuple[BrokenRule, ...] = (
    BrokenRule(
        "a client sends what its broker cannot read",
        "I25",
        session,
        "as_read",
        _as_it_comes,
        "a_question_that_cannot_be_read_is_refused_to_its_caller",
    ),
    BrokenRule(
        "a model whose functions do not return is asked again and again",
        "I25",
        catalog,
        "MOST_STUCK",
        4,
        "a_model_whose_functions_often_do_not_return_is_not_asked_again",
    ),
    BrokenRule(
        "a client repeats for ever what costs its connections",
        "I25",
        in_flight,
        "DEATHS",
        inf,
        "a_request_that_was_alone_when_its_connections_died_is_guilty",
    ),
    BrokenRule(
        "a callback that raises ends its client",
        "I25",
        followed_task,
        "run_callback",
        _call_unguarded,
        "whatever_a_callback_raises_is_logged_and_the_client_lives_on",
    ),
    BrokenRule(
        "a submission that was interrupted keeps its room",
        "I25",
        Place,
        "give_back",
        _nothing,
        "a_ctrl_c_while_submit_waits_for_room_costs_no_room",
    ),
    BrokenRule(
        "numbers of a plugin are believed",
        "I25",
        answers,
        "number",
        _as_it_comes,
        "whatever_a_function_returns_the_task_is_refused_with_a_reason",
    ),
    BrokenRule(
        "a router may raise what it likes",
        "I25",
        GuardedRouter,
        "_count",
        _raise,
        "whatever_a_call_raises_tasks_go_to_workers_as_they_came",
    ),
    BrokenRule(
        "a fault in one step ends the broker",
        "I25",
        Containment,
        "machine_failed",
        _raise,
        "a_task_at_whose_admission_the_broker_fails_is_refused_and_others_go_on",
    ),
    BrokenRule(
        "a fault with one peer ends the broker",
        "I25",
        Containment,
        "caught",
        _raise,
        "frames_on_which_the_shell_fails_end_that_session_alone",
    ),
    BrokenRule(
        "an ending is sent whether it can be read or not",
        "I25",
        readable_messages,
        "objection_to",
        _no_objection,
        "an_ending_that_cannot_be_read_becomes_a_failure_that_can",
    ),
    BrokenRule(
        "a body may trickle as long as it likes",
        "I25",
        request_body,
        "SLOWEST_BODY",
        1e-9,
        "a_body_that_trickles_is_given_up_on",
    ),
)
