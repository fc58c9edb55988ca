"""Whose a task is, by its id alone."""

import pytest

pytest.importorskip("starlette", reason="needs paintmq[http]")

from paintmq.gateway.identity import TaskIds, may_reach, owner_mark
from paintmq.http_api import Caller
from paintmq.task_ids import may_use_id, task_id_for_key

ANNA = Caller(name="anna", owner=owner_mark("anna"), tenant="studio")
BERT = Caller(name="bert", owner=owner_mark("bert"), tenant="studio")
ADMIN = Caller(name="chief", role="admin", owner=owner_mark("chief"))
IDS = TaskIds(b"a secret")


def test_a_callers_ids_are_its_own_and_an_admins_to_see() -> None:
    for key in (None, "order-17"):
        task_id = IDS.new(ANNA, key)

        assert may_reach(ANNA, task_id)
        assert may_reach(ADMIN, task_id)
        assert not may_reach(BERT, task_id)


def test_ids_are_new_each_time_but_the_same_for_one_key() -> None:
    assert IDS.new(ANNA) != IDS.new(ANNA)
    assert IDS.new(ANNA, "k") == IDS.new(ANNA, "k")
    assert IDS.new(ANNA, "k") != IDS.new(ANNA, "l")


def test_one_key_of_two_callers_is_two_tasks() -> None:
    one, other = IDS.new(ANNA, "order-17"), IDS.new(BERT, "order-17")

    assert one != other
    assert one[12:] != other[12:], "nor can one be worked out from the other"


def test_who_does_not_know_the_secret_cannot_work_out_an_id() -> None:
    assert TaskIds(b"a guess").new(ANNA, "order-17") != IDS.new(ANNA, "order-17")


def test_a_broker_with_keys_lets_the_gateway_use_them() -> None:
    assert all(may_use_id("gateway", IDS.new(ANNA, key)) for key in (None, "k"))


def test_an_id_made_elsewhere_is_nobodys_but_an_admins() -> None:
    task_id = task_id_for_key("studio", "order-17", owner="anna")

    assert not may_reach(ANNA, task_id)
    assert may_reach(ADMIN, task_id)
